"""Writes the report of a dataset: one HTML page with counts, histograms, sample faces and waves, and what was rejected.

The page is whole in itself: pictures are inside it, nothing is fetched.
"""

import base64
import csv
import html
import io
import pathlib
import re

from dnnlib.files import atomic_path, check_writable
from training.datasets.contact_sheet import contact_sheet
from training.datasets.statistics import (
    HISTOGRAMS,
    gender_table,
    nationality_table,
    split_table,
    statistics_of,
)

_MOST_REJECTED = 5000  # lines in the page; rejected.csv has all
_SAMPLES = 24
_NUMBER = re.compile(r"[\d.]+%?|-")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%;height:auto}h2{margin-top:2rem}
.tables{display:flex;flex-wrap:wrap;gap:2rem}code{overflow-wrap:anywhere}details{margin:1rem 0}"""


def report_file(data, wish):  # -> Path or None
    """Where the report of a dataset goes: None without a wish, "auto" is beside the data. ValueError if it cannot."""
    if wish is None:
        return None
    beside = pathlib.Path(data)
    beside = beside.with_suffix(".html") if beside.suffix.lower() == ".zip" else beside.with_name(beside.name + ".html")
    path = beside if wish == "auto" else pathlib.Path(wish)
    check_writable(path, option="--report")
    return path


def write_report(dataset, path):
    """Writes the report of a Dataset to the file `path`."""
    page = report_page(dataset)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def report_page(dataset):  # Dataset -> HTML
    """The whole page as text."""
    card, numbers = dataset.card, statistics_of(dataset)
    title = f"Dataset {dataset.path.name}"
    parts = [f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
             f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style><h1>{html.escape(title)}</h1>",
             _facts(card), "<h2>Counts</h2><div class=tables>",
             *(_table(*pair(numbers)) for pair in (split_table, gender_table, nationality_table)), "</div>",
             "<p>Gender and nationality are what the corpus states about a person, not what was measured.</p>"]
    if numbers["histograms"]:
        parts += ["<h2>Histograms</h2>", _image(_histograms(numbers["histograms"]), "histograms of clips and faces")]
    parts += _samples(dataset)
    parts += _rejected(dataset)
    return "\n".join(parts) + "\n"


def _facts(card):
    rows = [(name, card[name]) for name in ("source", "licence", "split", "resolution", "sample_rate_hz", "command",
                                            "fingerprint") if card.get(name) is not None]
    notes = "".join(f"<li>{html.escape(str(note))}</li>" for note in card.get("notes") or ())
    lines = "".join(f"<tr><th>{html.escape(name)}<td><code>{html.escape(str(value))}</code>" for name, value in rows)
    return f"<table>{lines}</table>" + (f"<p>Notes:</p><ul>{notes}</ul>" if notes else "")


def _table(header, rows):
    head = "".join(f"<th>{html.escape(str(cell))}" for cell in header)
    body = "".join("<tr>" + "".join(map(_cell, map(str, row))) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _cell(text):
    return f"<td{' class=n' if _NUMBER.fullmatch(text) else ''}>{html.escape(text)}"


def _image(content, text):
    return f"<img alt='{html.escape(text)}' src='data:image/png;base64,{base64.b64encode(content).decode()}'>"


def _histograms(histograms):  # -> PNG bytes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(histograms) // 3)
    figure = Figure(figsize=(12, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, histogram) in enumerate(histograms.items(), 1):
        kind, unit, _ = HISTOGRAMS.get(name, ("", "", None))
        axes = figure.add_subplot(rows, 3, place)
        edges, counts = histogram["edges"], histogram["counts"]
        axes.bar(range(len(counts)), counts, width=0.9, color="#4a72a8")
        axes.set_xticks([x - 0.5 for x in range(len(edges))], [f"{edge:g}" for edge in edges], fontsize=7, rotation=45)
        axes.set_title(f"{name.replace('_', ' ')}{f' ({unit})' if unit else ''}", fontsize=10)
        axes.set_ylabel({"voice": "clips", "face": "faces"}.get(kind, ""), fontsize=8)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=90)
    return target.getvalue()


def _samples(dataset):
    from PIL import Image

    parts = []
    for split in ("train", "val", "test"):
        people = dataset.people(split)
        step = max(1, len(people) // _SAMPLES)
        chosen = [people[place]["person"] for place in range(0, len(people), step)][:_SAMPLES] if len(people) else None
        if chosen or dataset.faces(split):
            sheet = contact_sheet(dataset, split=split, num_people=_SAMPLES, cell=96, people=chosen)
            target = io.BytesIO()
            Image.fromarray(sheet).save(target, format="PNG")
            parts += [f"<h2>People of {split}</h2>", _image(target.getvalue(), f"faces and waves of {split}")]
    return parts


def _rejected(dataset):
    counts = dataset.card.get("rejected") or {}
    if not counts:
        return ["<h2>Rejected</h2><p>Nothing was rejected.</p>"]
    rows = sorted(counts.items(), key=lambda pair: -pair[1])
    text = dataset.read_file("rejected.csv").decode("utf-8")
    lines = csv.reader(io.StringIO(text))
    header = next(lines)
    shown = [line for _, line in zip(range(_MOST_REJECTED), lines)]
    total = sum(counts.values())
    note = f"the first {len(shown)} of {total}; all are in rejected.csv" if total > len(shown) else f"all {total}"
    return ["<h2>Rejected</h2>", _table(["reason", "files or people"], rows),
            f"<details{' open' if total <= 100 else ''}><summary>Every one ({note})</summary>",
            _table(header, shown), "</details>"]
