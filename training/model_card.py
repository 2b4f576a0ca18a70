"""Writes the fairness and transparency section of a model card between two markers; the rest of the card stays."""

import pathlib
import re

from dnnlib.files import atomic_path

BEGIN = "<!-- fairness: begin (written by calc_metrics.py --metrics fairness --update-card FILE) -->"
END = "<!-- fairness: end -->"
TITLE = "## Fairness and transparency"
_SHOWN = ("n", "people", "clips", "split", "data", "data_sha256", "judge", "judge_sha256", "network_sha256",
          "truncation_psi", "seed", "rounds")


def update_card(path, table, protocol):
    """Puts a report between the markers of a card, at its end when there are none; the same report changes nothing.

    The file appears whole or not at all. ValueError when there is no such file, or its markers are damaged.
    """
    text = read_card_text(path)
    changed = with_section(text, section(table, protocol), where=f'"{path}"')
    if changed != text:
        with atomic_path(path) as temporary:
            temporary.write_text(changed, encoding="utf-8")


def read_card_text(path):
    """Returns the text of a model card; ValueError when it cannot take the section."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f'no model card at "{path}"; give the .md file that the section belongs into.') from error
    except IsADirectoryError as error:
        raise ValueError(f'"{path}" is a folder; give the .md file of the model card.') from error
    except UnicodeDecodeError as error:
        raise ValueError(f'"{path}" is not text; a model card is a .md file.') from error
    with_section(text, "", where=f'"{path}"')
    return text


def section(table, protocol):
    """Returns the section as Markdown: the tables, then one line of protocol."""
    told = ", ".join(f"{name.replace('_', ' ')} {_short(protocol[name])}" for name in _SHOWN if name in protocol)
    return (f"{TITLE}\n\nHow the numbers differ between groups of people, with 95 % intervals over people. The "
            "criterion is a gap of at most 5 points: met or not met only when the whole interval says so.\n\n"
            f"{table.strip()}\n\nMeasured with: {told}.")


def with_section(text, body, *, where="the card"):
    """Returns the text of a card with `body` between its markers."""
    counts = text.count(BEGIN), text.count(END)
    if counts == (0, 0):
        return f"{text.rstrip()}\n\n{BEGIN}\n\n{body}\n\n{END}\n"
    if counts != (1, 1) or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{where} has {counts[0]} begin and {counts[1]} end markers of the fairness section, or in "
                         "the wrong order; one of each is needed: remove them all to have the section written anew.")
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{body}\n\n{END}", text)


def _short(value):
    return f"{value[:12]}…" if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else value
