"""Puts the finished pieces of a build together: what is twice and who is alone is set aside, then all is written."""

import collections
import csv
import io
import re
import shutil

from training.dataset import FORMAT, Dataset
from training.datasets.statistics import Statistics
from training.datasets.writer import dataset_writer

_CLASS_END = re.compile(r"[:;]| \(")
REJECTED_COLUMNS = ("root", "path", "person", "reason", "stage")


def assemble(journals, dest, *, scratch=None):  # -> card
    """Writes the dataset of a plan whose pieces lie in one or more journals. ValueError names pieces that are missing.

    Bytes depend on the plan and its settings only: not on the number of journals, nor on when pieces were made.
    """
    if scratch is not None:  # what an earlier end of this step left
        for rest in scratch.glob(".*.part"):
            shutil.rmtree(rest, ignore_errors=True)
    homes = _find_homes(journals)
    plan = journals[0].plan
    names = min(journal.root_names() for journal in journals)  # shards may lie elsewhere, in any order
    doubles, kept = _survey(homes)
    alone = _find_alone(journals[0], kept, plan["facts"]["unpaired"] == "keep")
    statistics, rejected = Statistics(), _RejectedTable()
    with dataset_writer(dest, scratch=scratch) as writer:
        for person in journals[0].people():
            if person.person in alone:
                rejected.add("", "", person.person, alone[person.person], "person")
                continue
            row = {"kind": "person", "person": person.person, "split": person.split, "gender": person.gender,
                   "nationality": person.nationality, "ids": list(person.ids)}
            row |= {"extra": person.extra} if person.extra else {}
            writer.add_row(row)
            statistics.add(row)
        for rejection in journals[0].rejections():
            name = names[plan["roots"].index(rejection.root)] if rejection.root else ""
            rejected.add(name, rejection.path, rejection.person, rejection.reason, "plan")
        for piece, journal in enumerate(homes):
            for row, content in _rows(journal, piece, doubles, alone, rejected, names):
                writer.add_row(row, content)
                statistics.add(row)
        writer.add("rejected.csv", rejected.content())
        card = _card(plan, statistics, rejected.counts)
        writer.finish(card)
    return card


def is_made_of(dest, journal):
    """Whether `dest` is the finished dataset of a journal."""
    try:
        return Dataset(dest).card.get("fingerprint") == journal.plan["fingerprint"]
    except (ValueError, OSError):
        return False


def _find_homes(journals):  # -> for each piece the journal that has it
    homes = [next((journal for journal in journals if journal.is_finished(piece)), None)
             for piece in range(journals[0].num_pieces)]
    if missing := [piece for piece, home in enumerate(homes) if home is None]:
        raise ValueError(f"{len(missing)} of {len(homes)} pieces are missing, the first is {missing[0]}: not all "
                         "shards were given, or one of them is not finished (give its build command again).")
    return homes


def _survey(homes):  # -> {sha256 of a double: outcome of the first}, {person: kinds of which something is kept}
    """The first pass: which contents come more than once, and what is left of whom without the doubles."""
    first, doubles, kept = {}, {}, collections.defaultdict(set)
    for piece, journal in enumerate(homes):
        for outcome in journal.read_outcomes(piece):
            if "row" not in outcome:
                continue
            row = outcome["row"]
            if row["sha256"] in first:
                doubles[row["sha256"]] = first[row["sha256"]]
            else:
                first[row["sha256"]] = {"path": row["path"], "source": row["source"], "root": outcome["root"]}
                kept[row["person"]].add(row["kind"])
    return doubles, kept


def _find_alone(journal, kept, unpaired):  # -> {person: reason}
    """People of whom nothing is left, or only faces, or only voices, while the build has both."""
    kinds = set().union(*kept.values()) if kept else set()
    alone = {}
    for person in journal.people():
        lacking = sorted(kinds - kept.get(person.person, set()))
        if person.person not in kept:
            alone[person.person] = "nobody: nothing of this person was kept"
        elif lacking and not unpaired:
            alone[person.person] = f"alone: no {lacking[0]} of this person was kept"
    return alone


def _rows(journal, piece, doubles, alone, rejected, names):  # -> iterator of row, content
    """What of a piece goes into the dataset; the rest goes into the table of rejected files."""
    outcomes, contents = journal.read_contents(piece)
    for outcome, content in zip(outcomes, contents):
        root = names[outcome["root"]]
        if "row" not in outcome:
            rejected.add(root, outcome["path"], outcome["person"], outcome["reason"], outcome["stage"])
            continue
        row = outcome["row"]
        first = doubles.get(row["sha256"], row)
        if first["path"] != row["path"]:
            reason = f"duplicate: the same content as {first['source']} in {names[first['root']]}"
            rejected.add(root, row["source"], row["person"], reason, row["kind"])
        elif row["person"] in alone:
            rejected.add(root, row["source"], row["person"], alone[row["person"]], row["kind"])
        else:
            yield row, content


class _RejectedTable:
    """rejected.csv in the making, and how often each reason comes."""

    def __init__(self):
        self._text = io.StringIO(newline="")
        self._table = csv.writer(self._text, lineterminator="\n")
        self._table.writerow(REJECTED_COLUMNS)
        self.counts = collections.Counter()

    def add(self, root, path, person, reason, stage):
        """A line; what comes before a colon, a semicolon or a bracket in the reason is its class."""
        self._table.writerow([root, path, person, reason, stage])
        self.counts[f"{stage}: {_CLASS_END.split(reason)[0]}"] += 1

    def content(self):
        """The whole file; names that are no text are written with escapes."""
        return self._text.getvalue().encode("utf-8", "backslashreplace")


def _card(plan, statistics, rejected):
    facts = plan["facts"]
    has_voices = statistics.counts["voices"] > 0
    return {"format": FORMAT, "source": plan["layout"], "licence": facts["licence"], "command": plan["command"],
            "counts": dict(statistics.counts),
            "resolution": facts["face"]["resolution"] if statistics.counts["faces"] else None,
            "sample_rate_hz": 16000 if has_voices else None, "split": plan["split_name"], "settings": facts,
            "notes": plan["notes"], "rejected": dict(sorted(rejected.items())),
            "statistics": statistics.to_dict(), "fingerprint": plan["fingerprint"]}
