#!/usr/bin/env python3
"""Looks at this installation: what is there, what lacks, and what to do about each lack."""

import json

import click

from dnnlib.command_line import BOOL, Door
from dnnlib.console import say


@click.command(cls=Door)
@click.option("--json", "as_json", type=BOOL, default=False, show_default=True, help="Print the same facts as JSON.")
def doctor(as_json):
    """Prints versions, devices, operators, caches, metric weights, and whether a face can be drawn for a voice.

    Exit code 0: a face can be drawn for a voice. 2: it cannot (the lines under "what lacks" say what to do).
    """
    from voice2style.diagnosis import examine

    report = examine()
    say(json.dumps(report.to_dict(), indent=2) if as_json else "\n".join(report.lines()))
    if not report.works:
        raise click.exceptions.Exit(2)


if __name__ == "__main__":
    doctor()
