"""Plans a dataset from corpora as they lie on disk: reads layouts, joins voices and faces by identity, splits people.

Nothing is decoded here. The same files, tables and options give the same Plan on any machine.
"""

import collections
import os

from training.datasets.counts import compare_with_published, count
from training.datasets.identity_tables import is_identity_table, read_identity_table
from training.datasets.items import Item, Person, Plan, Rejection
from training.datasets.join import Identities, explain_unpaired, is_id, join, normalise_name
from training.datasets.layout_tree import FEATURES, suffix_of
from training.datasets.layouts import Findings, items, open_tree
from training.datasets.splits import hash_share, open_split, place_people
from training.datasets.test_lists import check_leakage, read_test_list, shorten

UNPAIRED = ("reject", "keep")
_LISTS = ("iden_split.txt", "split.json", "identity_splits.txt", "veri_test.txt", "veri_test2.txt",
          "list_test_all.txt", "list_test_hard.txt", "list_test_all2.txt", "list_test_hard2.txt", "wav_20k.csv",
          "jpg_20k.csv")
_TABLE_ORDER = ("vox1_meta.csv", "full_vox2_meta.csv", "vox2_meta.csv")  # whose word counts first


def make_plan(*, voices, faces, layout="auto", split="hash:80/10/10", meta=(), test_lists=(), unpaired="reject",
              max_people=None, seed=0):
    """The Plan of a dataset.

    `voices`, `faces`: a root (folder, zip, or list of rows) or several; the same root may be in both. `layout`: "auto",
    a name of LAYOUTS, or several with commas. `split`: see splits.open_split. `meta`: tables of ids and names, besides
    those that lie in the roots. `test_lists`: lists of people who must not be in train. `unpaired`: what happens to
    people who lack voices or faces: "reject", or "keep" (for `--task gan`). `max_people` are chosen by `seed`, always
    the same ones first. ValueError, in one sentence, for what cannot be planned.
    """
    _check_options(unpaired, max_people)
    roots = _roots(voices, faces)
    if unpaired == "reject" and len(set().union(*roots.values())) == 1:
        lacking = "voices" if _as_list(faces) else "faces"
        raise ValueError(f"no {lacking} were given, so nobody has both; give --{lacking}, or keep the unpaired "
                         "(--unpaired keep) for a dataset of one kind.")
    trees = {root: open_tree(root) for root in roots}
    identities = Identities(_read_tables(trees, meta))
    notes, tables, rejections, found, layouts = _read_roots(trees, roots, layout)
    tables += [table.path for table in identities.tables if table.path in map(os.fspath, _as_list(meta))]
    people = join(found, identities)
    chosen_split = open_split(split, identities=identities, find=lambda name: _find(name, trees))
    lonely = explain_unpaired(people, identities)
    reasons = lonely if unpaired == "reject" else {}
    places, unplaced = place_people([person for person in people if person.label not in reasons], chosen_split)
    reasons = {**reasons, **unplaced}
    kept = [person for person in people if person.label in places]
    if max_people is not None and len(kept) > max_people:
        notes.append(f"{max_people} of {len(kept)} people were chosen with seed {seed} (--max-people).")
        by_chance = sorted(kept, key=lambda person: hash_share(f"{seed} {person.name or person.label}"))[:max_people]
        labels = {person.label for person in by_chance}
        kept = [person for person in kept if person.label in labels]
    if not kept:
        raise ValueError(_nobody(people, reasons, rejections))
    lists = {os.fspath(path): _read_list(path, trees, identities) for path in _as_list(test_lists)}
    notes += check_leakage(kept, places, lists, identities)
    rejections += [Rejection(item.path, person.label, reasons[person.label], item.root)
                   for person in people if person.label in reasons for item in person.items]
    people_rows, rows = _finish(kept, places)
    notes += identities.notes + chosen_split.notes + _spelling_notes(kept)
    if chosen_split.name == "voice2face" and max_people is None:
        notes += _published(people, people_rows, rows, lonely, identities, chosen_split)
    return Plan(people_rows, rows, rejections, notes, ", ".join(layouts), chosen_split.name, tables)


def _check_options(unpaired, max_people):
    if unpaired not in UNPAIRED:
        raise ValueError(f'unpaired is "{unpaired}"; {" and ".join(UNPAIRED)} are known.')
    if max_people is not None and max_people < 1:
        raise ValueError(f"max_people is {max_people}; 1 or more is needed.")


def _as_list(value):
    if value is None:
        return []
    return [value] if isinstance(value, (str, os.PathLike)) else list(value)


def _roots(voices, faces):  # -> {root: kinds}, in the order given
    roots = {}
    for kind, given in (("face", faces), ("voice", voices)):
        for root in _as_list(given):
            roots.setdefault(os.fspath(root), set()).add(kind)
    if not roots:
        raise ValueError("neither voices nor faces were given; name the folders, zips or lists to read.")
    return roots


def _read_tables(trees, meta):  # -> list of IdentityTable, the published ones first
    tables = []
    for path in map(os.fspath, _as_list(meta)):
        try:
            with open(path, "rb") as file:
                tables.append(read_identity_table(file, path))
        except OSError as error:
            raise ValueError(f'the table "{path}" cannot be read ({error.strerror}).') from error
    for root, tree in trees.items():
        for path in filter(is_identity_table, tree.of_kind(None)):
            with tree.open(path) as file:
                tables.append(read_identity_table(file, f"{root}/{path}"))
    known = {name: place for place, name in enumerate(_TABLE_ORDER)}
    return sorted(tables, key=lambda table: known.get(table.file_name.lower(), len(known)))


def _read_roots(trees, roots, layout):  # -> notes, tables, rejections, items, names of layouts
    notes, tables, rejections, found, layouts = [], [], [], [], {}
    for root, kinds in roots.items():
        findings = Findings(root=trees[root].root, kinds=frozenset(kinds))
        for kind in sorted(kinds):
            for item in items(trees[root], kind, findings, layout):
                if normalise_name(item.person):
                    found.append(item)
                else:
                    findings.reject(item.path, f'"{item.person}" is no name')
        _account_for_rest(trees[root], findings)
        rejections += trees[root].problems + findings.rejections
        notes += findings.notes
        tables += [f"{findings.root}/{path}" for path in findings.tables]
        layouts.update(dict.fromkeys(findings.layouts))
        if unused := [path for path in findings.tables if path.rpartition("/")[2].lower() in _LISTS]:
            notes.append(f'"{root}": {", ".join(unused)} used only where --split or --test-list names it.')
    return notes, tables, rejections, found, layouts


def _account_for_rest(tree, findings):
    """Every file that is of no wanted kind is a table, or is set aside."""
    others = [kind for kind in (None, "face", "voice") if kind not in findings.kinds]
    for path, kind in [(path, other) for other in others for path in tree.of_kind(other)]:
        name = path.rpartition("/")[2].lower()
        if path in findings.tables:
            continue
        if is_identity_table(path) or name in _LISTS:
            findings.tables[path] = "a published table"
        elif kind is None:
            findings.reject(path, f"neither a picture nor sound by its name (.{suffix_of(path)})")
        else:
            what, wanted = ("a picture", "voices") if kind == "face" else ("a recording", "faces")
            what = f"features (.{suffix_of(path)})" if suffix_of(path) in FEATURES else what
            findings.reject(path, f"{what}, and this root was given for {wanted} only")


def _find(name, trees):  # -> (binary file, path) or None
    if os.path.isfile(name):
        return open(name, "rb"), name
    for root, tree in trees.items():
        for path in tree.files:
            if path == name or path.rpartition("/")[2] == name:
                return tree.open(path), f"{root}/{path}"
    return None


def _read_list(path, trees, identities):
    found = _find(os.fspath(path), trees)
    if found is None:
        raise ValueError(f'there is no test list "{path}".')
    file, name = found
    with file:
        return read_test_list(file, name, identities)


def _finish(kept, places):  # -> list of Person, list of Item
    people, rows = [], []
    for person in kept:
        split = places[person.label]
        people.append(Person(person.label, split, person.gender, person.nationality, person.ids))
        for kind in ("face", "voice"):
            rows += [Item(kind, item.path, item.root, person.label, split, item.landmarks, item.box, item.start_s,
                          item.end_s, item.extra) for item in person.items if item.kind == kind]
    return people, rows


def _nobody(people, reasons, rejections):
    counted = {}
    for person in people:
        for kind in {item.kind for item in person.items}:
            counted[kind] = counted.get(kind, 0) + 1
    example = next(((person.label, reasons[person.label]) for person in people if person.label in reasons), None)
    text = f"nobody is left: {counted.get('voice', 0)} people with voices and {counted.get('face', 0)} with faces"
    text += f'; for example "{example[0]}": {example[1]}' if example else ""
    if rejections:
        reason, number = collections.Counter(rejection.reason for rejection in rejections).most_common(1)[0]
        text += f"; {len(rejections)} files were set aside, {number} of them because: {reason}"
    return text + "."


def _spelling_notes(people):
    notes = []
    ids = [{name for _, row in person.rows for name in row.ids} for person in people]
    spelled = [[name for name in person.ids if not is_id(name) and name not in known]
               for person, known in zip(people, ids)]
    if varied := [names for names in spelled if len(names) > 1]:
        examples = [" = ".join(names) for names in varied]
        notes.append(f"{_people_are(varied)} spelled in more than one way and count once each: {shorten(examples)}.")
    twice = [person.label for person in people if sum(is_id(name) and name.startswith("id") for name in person.ids) > 1]
    if twice:
        notes.append(f"{_people_have(twice)} more than one VoxCeleb id and count once each: {shorten(twice)}.")
    return notes


def _people_are(people):
    return "1 person is" if len(people) == 1 else f"{len(people)} people are"


def _people_have(people):
    return "1 person has" if len(people) == 1 else f"{len(people)} people have"


def _published(people, people_rows, rows, lonely, identities, split):
    unpaired = {person.label: (split.place(person)[0], person.items[0].kind) for person in people
                if person.label in lonely}

    def place(name):
        letter = normalise_name(name)[:1]
        return "train" if letter >= "f" else "val" if letter <= "b" else "test"

    return compare_with_published(count(people_rows, rows), unpaired, identities.tables, place)


__all__ = ["Plan", "make_plan"]
