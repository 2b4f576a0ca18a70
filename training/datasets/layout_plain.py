"""Reads any corpus of one folder a person, with or without voices/ and faces/ (or train/, images/, ...) above them."""

from training.datasets.items import Item
from training.datasets.layout_reading import KIND_WORDS, Layout
from training.datasets.layout_tree import FEATURES, needs_av, suffix_of

FACE_WORDS = {"faces", "face", "images", "image", "imgs", "img", "pictures", "photos", "jpg", "png"}
VOICE_WORDS = {"voices", "voice", "audio", "audios", "wav", "wavs", "flac", "mp3", "speech", "clips"}
_WORDS = FACE_WORDS | VOICE_WORDS | {"train", "val", "test", "dev", "valid", "validation", "data", "raw", "aligned",
                                     "cropped"}
_FORM = {"voice": "<person>/*.wav or voices/<person>/*.wav", "face": "<Name>/*.jpg or faces/<person>/*.jpg"}


def people_of_folders(tree, kind):  # -> {path: person or None}, in the order of the files
    """Whose file each path of a kind is: the first folder that is not merely a word such as faces, train or images.

    One folder above all, of any name, is left out too if the files lie in two or more folders directly below it.
    None for files that lie in no person's folder.
    """
    parts = {path: path.split("/") for path in tree.of_kind(kind)}
    start = 0
    while True:
        tops = {way[start] for way in parts.values() if len(way) > start + 1}
        if not tops or not (all(top.lower() in _WORDS for top in tops) or _wraps(tops, parts.values(), start)):
            return {path: way[start] if len(way) > start + 1 else None for path, way in parts.items()}
        start += 1


def _wraps(tops, ways, start):
    below = [way for way in ways if len(way) > start + 1]
    inner = {way[start + 1] for way in below if len(way) == start + 3}
    return len(tops) == 1 and len(inner) > 1 and all(len(way) > start + 2 for way in below)


def recognise(tree, kind):
    """Evidence of folders of people with files of a kind."""
    people = people_of_folders(tree, kind)
    placed = {path: person for path, person in people.items() if person is not None}
    if not placed or len(placed) < len(people) / 2:
        return None
    names = dict.fromkeys(placed.values())
    return f'{len(names)} folders of people with {KIND_WORDS[kind]}, such as "{next(iter(placed))}"'


def read(tree, kind, findings):
    """Items by folders."""
    for path, person in people_of_folders(tree, kind).items():
        reason = refuse_place(path, person, kind)
        if reason:
            findings.reject(path, reason)
        else:
            yield Item(kind, path, tree.root, tree.text(person), extra=needs_av(path))


def refuse_place(path, person, kind):
    """Why a file of a kind is not used where it lies; None if it is."""
    if person is None:
        return "lies in no person's folder"
    if suffix_of(path) in FEATURES:
        return f"features of an unknown kind (.{suffix_of(path)}), not sound"
    if path.split("/")[0].lower() in (FACE_WORDS if kind == "voice" else VOICE_WORDS):
        return f"{'a recording' if kind == 'voice' else 'a picture'} under \"{path.split('/')[0]}\""
    return None


PLAIN = Layout("plain", _FORM, recognise, read)
