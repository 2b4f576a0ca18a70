"""Reads VoxCeleb1 (both naming schemes), VoxCeleb2 (m4a) and the faces that were cut from VoxCeleb1's videos."""

import re

from training.datasets.items import Item
from training.datasets.layout_reading import RECOGNISED_SHARE, Layout, describe, read_paths, recognise_names
from training.datasets.layout_tree import FEATURES, needs_av, suffix_of

_BY_ID = re.compile(r"(?:^|/)(?P<person>id\d{5})/(?P<video>[\w-]{11})/\d{5}\.\w+$")
_BY_NAME = re.compile(r"(?:^|/)(?P<person>[^/]+)/(?P<video>[\w-]{11})_\d{7}\.\w+$")
_FACE = re.compile(r"(?:^|/)(?P<person>[^/]+)/(?:1\.6/)(?P<video>[\w-]{11})/\d+\.\w+$")
_FORM_BY_ID, _FORM_BY_NAME = "idNNNNN/<11 characters>/NNNNN", "<Name>/<11 characters>_NNNNNNN"
_FORM_FACE = "<Name>/1.6/<11 characters>/<frame>.jpg"
_FIRST_OF_VOXCELEB1 = "id10001"  # VoxCeleb2's ids are id00012 to id09272, VoxCeleb1's id10001 to id11251


def recognise_voxceleb1(tree, kind):
    """Evidence of VoxCeleb1's recordings."""
    first, second, named, total = _counts(tree, kind)
    if first + named < max(second, 1) or first + second + named < RECOGNISED_SHARE * total:
        return None
    return describe(first, total, kind, f"{_FORM_BY_ID}.wav") if first >= named else describe(
        named, total, kind, f"{_FORM_BY_NAME}.wav (the older scheme)")


def recognise_voxceleb2(tree, kind):
    """Evidence of VoxCeleb2's recordings."""
    first, second, named, total = _counts(tree, kind)
    if second <= first + named or first + second + named < RECOGNISED_SHARE * total:
        return None
    av = sum(bool(needs_av(path)) for path in tree.sample(kind))
    return describe(second, total, kind, _FORM_BY_ID) + (f", {av} of them .m4a or the like" if av else "")


def _counts(tree, kind):  # -> number of files with VoxCeleb1's ids, with VoxCeleb2's, with names; of all
    if kind != "voice":
        return 0, 0, 0, 0
    first = second = named = 0
    sample = [path for path in tree.sample(kind) if suffix_of(path) not in FEATURES]
    for path in sample:
        if match := _BY_ID.search(path):
            is_first = match["person"] >= _FIRST_OF_VOXCELEB1
            first, second = first + is_first, second + (not is_first)
        else:
            named += _BY_NAME.search(path) is not None
    return first, second, named, len(sample)


def read_voices(tree, kind, findings):
    """Items of either VoxCeleb: who speaks is the folder's id or name. Of a wav and its m4a the wav is taken."""
    has_av = any(map(needs_av, tree.of_kind(kind)))
    whole = {path.rpartition(".")[0] for path in tree.of_kind(kind) if has_av and suffix_of(path) in ("wav", "flac")}

    def parse(path):
        if suffix_of(path) in FEATURES:
            return "features, not sound; VoxCeleb is read from its recordings"
        match = _BY_ID.search(path) or _BY_NAME.search(path)
        if match is None:
            return f"not named {_FORM_BY_ID} or {_FORM_BY_NAME}"
        extra = needs_av(path)
        if extra and path.rpartition(".")[0] in whole:
            return "the same recording is there as wav or flac"
        return Item(kind, path, tree.root, tree.text(match["person"]), extra={"video": match["video"], **extra})

    yield from read_paths(tree, kind, findings, parse)


def recognise_faces(tree, kind):
    """Evidence of faces cut from VoxCeleb1's videos."""
    return recognise_names(tree, kind, _FACE, _FORM_FACE) if kind == "face" else None


def read_faces(tree, kind, findings):
    """Items of faces, by the name above "1.6" (the share by which the boxes were widened)."""

    def parse(path):
        match = _FACE.search(path)
        if match is None:
            return f"not named {_FORM_FACE}"
        return Item(kind, path, tree.root, tree.text(match["person"]), extra={"video": match["video"]})

    yield from read_paths(tree, kind, findings, parse)


_FORMS = {"voice": f"{_FORM_BY_ID}.wav or {_FORM_BY_NAME}.wav"}
VOXCELEB1 = Layout("voxceleb1", _FORMS, recognise_voxceleb1, read_voices)
VOXCELEB2 = Layout("voxceleb2", {"voice": f"{_FORM_BY_ID}.m4a"}, recognise_voxceleb2, read_voices)
VOXCELEB1_FACES = Layout("voxceleb1_faces", {"face": _FORM_FACE}, recognise_faces, read_faces)
