"""Lines for people: stdout for results, stderr for warnings, durations, plain tables."""

import sys


def say(line=""):
    """Prints a line of result on stdout at once."""
    print(line, flush=True)


def warn(line):
    """Prints a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)


def format_time(seconds):
    """Returns a duration as '59s', '6m 37s', '2h 15m 58s' or '1d 03h 12m'."""
    total = int(round(float(seconds)))
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m {total % 60:02d}s"
    if total < 86400:
        return f"{total // 3600}h {total // 60 % 60:02d}m {total % 60:02d}s"
    return f"{total // 86400}d {total // 3600 % 24:02d}h {total // 60 % 60:02d}m"


def table(rows, header):
    """Returns rows of values as a Markdown table whose columns line up in plain text as well."""
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)
