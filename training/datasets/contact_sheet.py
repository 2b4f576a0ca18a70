"""Draws a contact sheet of a dataset: each person's first face with the waveform of the first clip beneath it."""

import math

import numpy as np

_PAPER, _INK, _LABEL = (250, 250, 250), (70, 110, 160), (90, 90, 90)
_WAVE_HEIGHT, _LABEL_HEIGHT, _GAP = 28, 12, 4


def contact_sheet(dataset, *, split=None, num_people=24, cell=128, columns=None, people=None):  # -> uint8 [H, W, 3]
    """The sheet of the first people of a split (or of all) that have a face or a clip.

    `cell` is the width of a face on the sheet in pixels; `people` chooses people. ValueError if the split is empty.
    """
    from PIL import Image, ImageDraw

    if num_people < 1 or not 16 <= cell <= 1024:
        raise ValueError(
            f"{num_people} people in cells of {cell} pixels: 1 or more people, 16 to 1024 pixels are allowed."
        )
    wanted, waves = people and set(people), (row for row in dataset.voices(split) if "features" not in row)
    faces, voices = (_first_rows(rows, wanted) for rows in (dataset.faces(split), waves))
    if people is None:
        people = list(dict.fromkeys([row["person"] for row in dataset.people(split)] + list(faces) + list(voices)))
    people = [person for person in people if person in faces or person in voices][:num_people]
    if not people:
        raise ValueError(
            f'"{dataset.path}" has neither faces nor voices in {f"the split {split}" if split else "any split"}.'
        )
    columns = columns or min(len(people), 2 * math.ceil(math.sqrt(len(people) / 2)))
    width, height = cell + _GAP, cell + _WAVE_HEIGHT + _LABEL_HEIGHT + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, -(-len(people) // columns) * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, person in enumerate(people):
        left, top = _GAP + place % columns * width, _GAP + place // columns * height
        if person in faces:
            _paste_face(sheet, dataset.read_face(faces[person]), left, top, cell)
        if person in voices:
            _draw_wave(draw, dataset.read_voice(voices[person]), left, top + cell, cell)
        draw.text((left, top + cell + _WAVE_HEIGHT), str(person), fill=_LABEL)
    return np.asarray(sheet)


def _first_rows(rows, wanted):  # rows -> {person: its first row}
    first = {}
    for row in rows:
        if wanted is None or row["person"] in wanted:
            first.setdefault(row["person"], row)
            if wanted is not None and len(first) == len(wanted):
                break
    return first


def _paste_face(sheet, pixels, left, top, cell):
    from PIL import Image

    picture = Image.fromarray(pixels)
    scale = cell / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    sheet.paste(picture.resize(size, method), (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))


def _draw_wave(draw, wave, left, top, width):  # float [S] in [-1, 1]
    """One vertical line a pixel column, from the least to the greatest sample in it, on a scale of the clip's peak."""
    peak = max(float(np.abs(wave).max(initial=0)), 1e-6)
    middle, reach = top + _WAVE_HEIGHT / 2, _WAVE_HEIGHT / 2 - 2
    for column, part in enumerate(np.array_split(wave, width)):
        low, high = (float(part.min()), float(part.max())) if len(part) else (0.0, 0.0)
        line = [(left + column, middle - reach * high / peak), (left + column, middle - reach * low / peak)]
        draw.line(line, fill=_INK)
