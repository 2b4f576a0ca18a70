"""Counts a dataset: people, faces, clips and hours by split, gender and nationality, and histograms; as text tables."""

import collections

import numpy as np

from dnnlib.console import table
from training.datasets.writer import SPLITS

# What is counted in bins: name -> (kind, unit, edges); values beyond the edges go into the outer bins.
HISTOGRAMS = {
    "seconds": ("voice", "s", (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60, 600)),
    "loudness_lufs": ("voice", "LUFS", (-60, -50, -45, -40, -35, -30, -25, -20, -15, -10, 0)),
    "snr_db": ("voice", "dB", (-10, 0, 5, 10, 15, 20, 25, 30, 40, 50, 80)),
    "speech_share": ("voice", "of the clip", (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)),
    "crop_pixels": ("face", "pixels", (0, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)),
    "sharpness": ("face", "", (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)),
}
GENDERS = {"f": "women", "m": "men", None: "not known"}
_BAR = 40
_MOST_NATIONALITIES = 12


class Statistics:
    """Numbers of a dataset, taken row by row; memory does not grow with the rows."""

    def __init__(self):
        self.counts = {"people": 0, "faces": 0, "voices": 0}
        self.splits = {split: {"people": 0, "faces": 0, "voices": 0, "seconds": 0.0} for split in SPLITS}
        self.genders = {split: collections.Counter() for split in SPLITS}
        self.nationalities = collections.Counter()
        self.bins = {name: [0] * (len(edges) - 1) for name, (_, _, edges) in HISTOGRAMS.items()}
        self.aligned = collections.Counter()
        self.clipped = self.features = 0

    def add(self, row):
        """Counts a manifest row."""
        kind = {"person": "people", "face": "faces", "voice": "voices"}[row["kind"]]
        self.counts[kind] += 1
        self.splits[row["split"]][kind] += 1
        if row["kind"] == "person":
            self.genders[row["split"]][row.get("gender")] += 1
            self.nationalities[row.get("nationality")] += 1
            return
        self.splits[row["split"]]["seconds"] += row.get("seconds", 0.0)
        self.clipped += row.get("clipped", 0) > 0.001
        self.features += "features" in row
        if "aligned" in row:
            self.aligned[row["aligned"]] += 1
        for name, (owner, _, edges) in HISTOGRAMS.items():
            value = _value(row, name) if owner == row["kind"] else None
            if value is not None:
                place = int(np.searchsorted(edges, value, side="right")) - 1
                self.bins[name][min(max(place, 0), len(edges) - 2)] += 1

    def to_dict(self):
        """The numbers as JSON, for the card."""
        genders = {split: {"f": counts["f"], "m": counts["m"], "unknown": sum(counts.values()) - counts["f"]
                           - counts["m"]} for split, counts in self.genders.items()}
        nationalities = {name or "unknown": count for name, count in
                         sorted(self.nationalities.items(), key=lambda pair: (-pair[1], pair[0] or ""))}
        splits = {split: {**counts, "seconds": round(counts["seconds"], 3)} for split, counts in self.splits.items()}
        bins = {name: {"edges": list(HISTOGRAMS[name][2]), "counts": counts} for name, counts in self.bins.items()
                if any(counts)}
        return {"splits": splits, "genders": genders, "nationalities": nationalities, "histograms": bins,
                "aligned": dict(sorted(self.aligned.items())),
                "clipped_voices": int(self.clipped), "voices_as_features": int(self.features)}


def _value(row, name):
    if name == "speech_share":
        spans = row.get("speech")
        return None if spans is None else sum(end - start for start, end in spans) / max(row["seconds"], 1e-9)
    return row.get(name)


def statistics_of(dataset):  # Dataset -> JSON as `Statistics.to_dict` gives it
    """The numbers of a dataset: from its card if the manifest is as it was written, else from its rows."""
    statistics = Statistics()
    stated = dataset.card.get("statistics")
    if dataset.is_indexed and isinstance(stated, dict) and stated.keys() == statistics.to_dict().keys():
        return stated
    for rows in (dataset.people(), dataset.faces(), dataset.voices()):
        for row in rows:
            statistics.add(row)
    return statistics.to_dict()


def split_table(numbers):
    """People, faces, clips and hours by split."""
    rows = [(split, part["people"], part["faces"], part["voices"], f"{part['seconds'] / 3600:.2f}")
            for split, part in numbers["splits"].items()]
    names = ("people", "faces", "voices", "seconds")
    total = [sum(part[name] for part in numbers["splits"].values()) for name in names]
    return ["split", "people", "faces", "clips", "hours"], [*rows, ("all", *total[:3], f"{total[3] / 3600:.2f}")]


def gender_table(numbers):
    """People by split and gender."""
    rows = [(split, part["f"], part["m"], part["unknown"], _share(part)) for split, part in numbers["genders"].items()]
    total = {name: sum(part[name] for part in numbers["genders"].values()) for name in ("f", "m", "unknown")}
    return ["split", "women", "men", "not known", "men among known"], [*rows, ("all", *total.values(), _share(total))]


def _share(part):
    known = part["f"] + part["m"]
    return f"{part['m'] / known:.1%}" if known else "-"


def nationality_table(numbers):
    """People by nationality, the most frequent ones."""
    pairs = list(numbers["nationalities"].items())
    rest = sum(count for _, count in pairs[_MOST_NATIONALITIES:])
    rows = pairs[:_MOST_NATIONALITIES] + ([("others", rest)] if rest else [])
    return ["nationality", "people"], rows


def describe_counts(numbers):  # JSON as `Statistics.to_dict` gives it -> text
    """People, faces, clips and hours by split, people by gender and by nationality, as tables."""
    return "\n\n".join(table(rows, header) for header, rows in
                       (split_table(numbers), gender_table(numbers), nationality_table(numbers)))


def describe(dataset):  # Dataset -> text
    """The card as people read it: what it is, tables, histograms, what was rejected."""
    card, numbers = dataset.card, statistics_of(dataset)
    facts = [("source", card.get("source")), ("licence", card.get("licence") or "not stated"),
             ("split", card.get("split")), ("resolution", card.get("resolution")),
             ("sample rate", card.get("sample_rate_hz") and f"{card['sample_rate_hz']} Hz"),
             ("command", card.get("command"))]
    parts = [f"{dataset.path}", *(f"  {name}: {value}" for name, value in facts if value is not None)]
    parts += [f"  note: {note}" for note in card.get("notes", ())]
    parts += ["", describe_counts(numbers)]
    if numbers["aligned"]:
        parts += ["", "faces aligned by: " + ", ".join(f"{name} {count}" for name, count in numbers["aligned"].items())]
    for name, histogram in numbers["histograms"].items():
        parts += ["", *_text_histogram(name, histogram)]
    if numbers["voices_as_features"]:
        parts += ["", f"{numbers['voices_as_features']} clips are features without waves."]
    if card.get("rejected"):
        parts += ["", table(sorted(card["rejected"].items(), key=lambda pair: -pair[1]), ["rejected", "files"])]
    return "\n".join(parts)


def _text_histogram(name, histogram):
    unit = HISTOGRAMS[name][1] if name in HISTOGRAMS else ""
    edges, counts = histogram["edges"], histogram["counts"]
    yield f"{name.replace('_', ' ')}{f' ({unit})' if unit else ''}"
    for low, high, count in zip(edges, edges[1:], counts):
        yield f"  {low:>6g} to {high:<6g} {count:>8}  {'#' * round(_BAR * count / max(counts))}"
