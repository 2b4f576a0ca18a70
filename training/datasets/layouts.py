"""The layouts that corpora have on disk, and which of them a folder, zip or list has.

    LAYOUTS["voxceleb1"].recognise(open_tree("vox1"), "voice")     # -> a phrase of evidence, or None
    items("vox1", "voice", findings)                               # -> Items; what is not used goes to findings
"""

import os

from training.datasets.layout_avspeech import AVSPEECH
from training.datasets.layout_plain import PLAIN
from training.datasets.layout_processed import HQ_VOXCELEB, VOICE2FACE
from training.datasets.layout_reading import KIND_WORDS, Findings
from training.datasets.layout_rows import LIST_SUFFIXES, ROWS, RowList
from training.datasets.layout_tree import Tree, suffix_of
from training.datasets.layout_vggface import VGGFACE, VGGFACE2
from training.datasets.layout_voxceleb import VOXCELEB1, VOXCELEB1_FACES, VOXCELEB2

LAYOUTS = {row.name: row for row in (VOXCELEB1, VOXCELEB2, VOXCELEB1_FACES, VGGFACE, VGGFACE2, HQ_VOXCELEB, VOICE2FACE,
                                     AVSPEECH, ROWS, PLAIN)}
_LAST = ("plain",)  # what any tree may be taken for, if nothing else fits


def open_tree(path):
    """The tree of a folder, a zip or a list of rows. ValueError if it is none of them, or a dataset already."""
    name = os.fspath(path)
    if os.path.isfile(name) and suffix_of(name.replace(os.sep, "/")) in LIST_SUFFIXES:
        return RowList(name)
    tree = Tree(name)
    if {"card.json", "manifest.jsonl"} <= set(tree.files):
        raise ValueError(f'"{name}" is a dataset already, not a corpus; use it as --data.')
    return tree


def recognise(root, kind):  # path or Tree -> {name of a layout: evidence}
    """All layouts that a root may have for files of a kind ("face" or "voice"); the general one only if alone."""
    tree = root if isinstance(root, Tree) else open_tree(root)
    found = {name: evidence for name, row in LAYOUTS.items()
             if kind in row.looks_for and (evidence := row.recognise(tree, kind))}
    return {name: evidence for name, evidence in found.items() if name not in _LAST or len(found) == 1}


def choose(tree, kind, wanted="auto"):  # -> (Layout, evidence in words)
    """The layout of a tree for a kind. `wanted`: "auto", a name, or names with commas between, from which to choose.

    ValueError says what was seen and what is looked for.
    """
    names = [name.strip() for name in str(wanted).split(",")]
    if unknown := [name for name in names if name != "auto" and name not in LAYOUTS]:
        raise ValueError(f'no layout "{unknown[0]}"; there are auto, {", ".join(LAYOUTS)}.')
    if isinstance(tree, RowList):
        return ROWS, f'"{tree.list_name}" was given'
    fitting = [name for name in names if name != "auto" and kind in LAYOUTS[name].looks_for]
    if "auto" not in names and len(fitting) == 1:
        return LAYOUTS[fitting[0]], "as told"
    seen = recognise(tree, kind)
    if "auto" not in names:
        if not fitting:
            raise ValueError(f"the layout {wanted} has no {KIND_WORDS[kind]}; name one that has, with a comma between, "
                             "or take auto.")
        if len(told := [name for name in fitting if LAYOUTS[name].recognise(tree, kind)]) == 1:
            return LAYOUTS[told[0]], LAYOUTS[told[0]].recognise(tree, kind)
        seen = {name: evidence for name, evidence in seen.items() if name in fitting}
    if len(seen) == 1:
        (name, evidence), = seen.items()
        return LAYOUTS[name], evidence
    what = KIND_WORDS[kind]
    if seen:
        guesses = "; ".join(f"{name} ({evidence})" for name, evidence in seen.items())
        raise ValueError(f'"{tree.root}" may hold {what} in more than one layout: {guesses}. Choose one by --layout.')
    number = len(tree.of_kind(kind))
    looked_for = "; ".join(f"{name}: {row.looks_for[kind]}" for name, row in LAYOUTS.items() if kind in row.looks_for)
    raise ValueError(f'no known layout of {what} in "{tree.root}" ({len(tree.files)} files, {number} of them {what}). '
                     f"Looked for {looked_for}.")


def items(root, kind, findings, wanted="auto"):  # path or Tree, str, Findings -> iterator of Item
    """The items of a kind in a root; `findings` gets what was recognised, and all that is not used."""
    tree = root if isinstance(root, Tree) else open_tree(root)
    layout, evidence = choose(tree, kind, wanted)
    findings.layouts.append(layout.name)
    findings.notes.append(f'"{tree.root}": {KIND_WORDS[kind]} of the layout {layout.name} ({evidence}).')
    yield from layout.items(tree, kind, findings)


__all__ = ["LAYOUTS", "Findings", "choose", "items", "open_tree", "recognise"]
