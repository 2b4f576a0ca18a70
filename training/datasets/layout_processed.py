"""Reads corpora that somebody processed: HQ-VoxCeleb, and the tree of voice2face's authors (fbank, VGG_ALL_FRONTAL)."""

import re

from training.datasets.items import Item
from training.datasets.layout_reading import Layout, read_paths, recognise_names

_HQ_FACE = re.compile(r"^(?P<above>.*?)(?P<variant>masked_faces|origin_faces)/(?P<person>[^/]+)/(?P<name>[^/]+)$")
_HQ_MEL = re.compile(r"(?:^|/)mel_spectrograms/(?P<person>[^/]+)/[^/]+\.(?:pickle|pkl)$")
_FBANK = re.compile(r"(?:^|/)(?P<person>[^/]+)/(?P<video>[\w-]{11})/[^/]+\.npy$")
_FRONTAL = re.compile(r"(?:^|/)VGG_ALL_FRONTAL/(?P<person>[^/]+)/[^/]+$")
_HQ_FORM = {"face": "masked_faces/<Name>/<k>.jpg or origin_faces/<Name>/<k>.jpg",
            "voice": "mel_spectrograms/<Name>/<...>.pickle"}
_CMU_FORM = {"face": "VGG_ALL_FRONTAL/<Name>/<k>.jpg", "voice": "fbank/<id or Name>/<11 characters>/<...>.npy"}


def recognise_hq(tree, kind):
    """Evidence of HQ-VoxCeleb."""
    return recognise_names(tree, kind, _HQ_FACE if kind == "face" else _HQ_MEL, _HQ_FORM[kind])


def read_hq(tree, kind, findings):
    """Items of HQ-VoxCeleb's faces, and of its log-mel features [T, 40] as voices.

    The pickles that hold these are read without running them (voice2style/foreign). A picture
    that is there masked and as it was counts once: the masked one, as in SF2F.
    """
    masked = {(match["above"], match["person"], match["name"]) for path in tree.files
              if (match := _HQ_FACE.search(path)) and match["variant"] == "masked_faces"}
    count = 0

    def parse(path):
        nonlocal count
        if kind == "voice":
            match = _HQ_MEL.search(path)
            if match is None:
                return f"not named {_HQ_FORM[kind]}"
            count += 1
            return Item(kind, path, tree.root, tree.text(match["person"]), extra={"features": "logmel40"})
        match = _HQ_FACE.search(path)
        if match is None:
            return f"not named {_HQ_FORM[kind]}"
        if match["variant"] == "origin_faces" and (match["above"], match["person"], match["name"]) in masked:
            return "the same picture is there in masked_faces (give the folder origin_faces alone to use these)"
        return Item(kind, path, tree.root, tree.text(match["person"]), extra={"variant": match["variant"]})

    yield from read_paths(tree, kind, findings, parse)
    _note_features(tree, findings, count, 40)


def recognise_cmu(tree, kind):
    """Evidence of the voice2face authors' tree."""
    return recognise_names(tree, kind, _FRONTAL if kind == "face" else _FBANK, _CMU_FORM[kind])


def read_cmu(tree, kind, findings):
    """Items of log-mel features ([T, 64], as they are: without silence, normalised) and of frontal faces."""
    pattern, count = (_FRONTAL if kind == "face" else _FBANK), 0

    def parse(path):
        nonlocal count
        match = pattern.search(path)
        if match is None:
            return f"not named {_CMU_FORM[kind]}"
        count += 1
        extra = {} if kind == "face" else {"features": "logmel64", "video": match["video"]}
        return Item(kind, path, tree.root, tree.text(match["person"]), extra=extra)

    yield from read_paths(tree, kind, findings, parse)
    _note_features(tree, findings, 0 if kind == "face" else count, 64)


def _note_features(tree, findings, count, bands):
    if count:
        findings.notes.append(f'"{tree.root}": {count} voices are log-mel features of {bands} bands, not sound; they '
                              "are read as such, so a model learns from these features and no other front-end fits.")


HQ_VOXCELEB = Layout("hq_voxceleb", _HQ_FORM, recognise_hq, read_hq)
VOICE2FACE = Layout("voice2face", _CMU_FORM, recognise_cmu, read_cmu)
