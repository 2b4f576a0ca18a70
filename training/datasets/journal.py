"""Keeps a build's plan and its finished pieces in a folder, so that the same command goes on after any stop.

    plan.json      what is built and how, and a fingerprint of both: pieces of another plan are never mixed in
    people.jsonl   rejections.jsonl   items.jsonl   the plan itself; workers read their items from here
    pieces/000/000012.bin, .json      64 items each: contents, and what became of every item; the .json comes last
    lock           held while a process works here

Pieces do not depend on each other, so that a part of them (a shard) can be made on another machine.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil

from training.datasets.items import Item, Person, Rejection

FORMAT = "voice2style-pieces/2"
PIECE = 64  # items


@contextlib.contextmanager
def lock_folder(folder):
    """Makes `folder`, where only one process at a time works; ValueError for the second."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f'another process is at work in "{folder}"; wait for it, or end it.') from None
        yield


class Journal:
    """The folder of a build. `Journal.start` makes it or goes on with it; `Journal(folder)` opens a finished plan."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        try:
            self.plan = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f'"{folder}" is no shard of a build: it has no plan.json.') from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f'plan.json in "{folder}" is not JSON: {error}.') from error
        if not isinstance(self.plan, dict) or self.plan.get("format") != FORMAT:
            raise ValueError(f'"{folder}" is no shard of a build of this version ("{FORMAT}").')

    @classmethod
    def start(cls, folder, plan, facts, *, notes=None):
        """The journal of `plan` (a Plan) in `folder`, where `facts` (JSON) are all settings that bytes depend on.

        Goes on with what is there if it is of the same plan and facts; ValueError if it is of another. `notes` (JSON)
        are kept too, but do not count.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        described = {**_spool(fresh, plan, facts), **(notes or {})}
        if (folder / "plan.json").exists():
            there = cls(folder)
            if there.plan["fingerprint"] != described["fingerprint"]:
                raise ValueError(f'"{folder}" holds the pieces of another build (other files or other options). Give '
                                 "the options of that build to go on with it, or remove the folder.")
        for name in ("people.jsonl", "rejections.jsonl", "items.jsonl", "offsets.json"):
            os.replace(fresh / name, folder / name)
        (fresh / "plan.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        os.replace(fresh / "plan.json", folder / "plan.json")  # last: a plan.json says that the plan is whole
        fresh.rmdir()
        return cls(folder)

    @property
    def num_pieces(self):
        """Pieces of the whole plan."""
        return -(-self.plan["num_items"] // self.plan["piece"])

    def num_items(self, piece):
        """Items of a piece."""
        return min(self.plan["piece"], self.plan["num_items"] - piece * self.plan["piece"])

    def wanted(self, shard):  # (i, n), i from 1 -> list of pieces
        """The pieces of shard i of n."""
        return list(range(shard[0] - 1, self.num_pieces, shard[1]))

    def is_finished(self, piece):
        """Whether a piece is there."""
        return self._piece_path(piece).with_suffix(".json").exists()

    def root_names(self):  # -> [str]
        """The roots of the plan as reports call them: folders and zips by their own names, whatever their place."""
        names = []
        for root in self.plan["roots"]:
            name = re.sub(r"\.zip$", "", os.path.basename(os.path.abspath(root)), flags=re.IGNORECASE) or root
            same = sum(re.fullmatch(re.escape(name) + r"( \(\d+\))?", other) is not None for other in names)
            names.append(f"{name} ({same + 1})" if same else name)
        return names

    def people(self):  # -> iterator of Person
        """The people of the plan."""
        for values in self._lines("people.jsonl"):
            yield Person(*values[:4], tuple(values[4]), values[5])

    def rejections(self):  # -> iterator of Rejection
        """What the plan itself leaves out."""
        for values in self._lines("rejections.jsonl"):
            yield Rejection(*values)

    def items(self, piece):  # -> number of the first one, [Item]
        """The items of a piece."""
        with (self.folder / "items.jsonl").open("rb") as file:
            file.seek(json.loads((self.folder / "offsets.json").read_text())[piece])
            lines = [file.readline() for _ in range(self.num_items(piece))]
        return piece * self.plan["piece"], [_item(json.loads(line), self.plan["roots"]) for line in lines]

    def write_piece(self, piece, contents, outcomes):
        """Keeps a finished piece: a list of bytes, and a JSON list of what became of every item."""
        path = self._piece_path(piece)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            for suffix, data in ((".bin", b"".join(contents)), (".json", json.dumps(outcomes).encode())):
                temporary.write_bytes(data)
                os.replace(temporary, path.with_suffix(suffix))
        finally:
            temporary.unlink(missing_ok=True)

    def read_outcomes(self, piece):  # -> list, one for each item: see builder.make_piece
        """What became of the items of a piece."""
        try:
            return json.loads(self._piece_path(piece).with_suffix(".json").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            raise ValueError(self._damage(piece)) from None

    def read_contents(self, piece):  # -> list of bytes, None where an item was refused
        """The contents of a piece, checked against their sha256. ValueError if it is damaged; it is then removed."""
        outcomes, at, contents = self.read_outcomes(piece), 0, []
        path = self._piece_path(piece).with_suffix(".bin")
        data = path.read_bytes() if path.exists() else b""
        for outcome in outcomes:
            if "row" not in outcome:
                contents.append(None)
                continue
            contents.append(data[at : at + outcome["size"]])
            at += outcome["size"]
            if hashlib.sha256(contents[-1]).hexdigest() != outcome["row"]["sha256"]:
                raise ValueError(self._damage(piece))
        return outcomes, contents

    def remove(self):
        """Takes the whole folder away."""
        shutil.rmtree(self.folder)

    def _damage(self, piece):
        self._piece_path(piece).with_suffix(".json").unlink(missing_ok=True)
        return (f'piece {piece} in "{self.folder}" is missing or damaged and was taken out; the same build command '
                "makes it again.")

    def _piece_path(self, piece):
        return self.folder / "pieces" / f"{piece // 1000:03d}" / f"{piece:06d}"

    def _lines(self, name):
        with (self.folder / name).open("rb") as file:
            for line in file:
                yield json.loads(line)


def _spool(folder, plan, facts):  # -> contents of plan.json
    """Writes the plan item by item, however long it is, and takes its fingerprint. Roots may differ by machine."""
    digest = hashlib.sha256(json.dumps([FORMAT, PIECE, facts, plan.layout, plan.split_name], sort_keys=True).encode())
    roots, count, offsets = {}, 0, []
    with (folder / "items.jsonl").open("wb") as file:
        for item in plan.items:
            values = list(_values(item))
            values[2] = roots.setdefault(item.root, len(roots))
            if count % PIECE == 0:
                offsets.append(file.tell())
            _write_line(file, digest, values)
            count += 1
    (folder / "offsets.json").write_text(json.dumps(offsets))
    # After the items: a reader may find people and reasons while it hands them out.
    for name, table in (("people.jsonl", plan.people), ("rejections.jsonl", plan.rejections)):
        with (folder / name).open("wb") as file:
            for entry in table:
                values = list(_values(entry))
                hashed = values[:3] if isinstance(entry, Rejection) else values
                if isinstance(entry, Rejection) and entry.root:
                    roots.setdefault(entry.root, len(roots))
                _write_line(file, digest, values, hashed)
    if not count:
        raise ValueError("there is nothing to build: the plan has neither faces nor voices that can be used.")
    return {"format": FORMAT, "fingerprint": digest.hexdigest(), "num_items": count, "piece": PIECE,
            "layout": plan.layout, "split_name": plan.split_name, "notes": list(plan.notes), "facts": facts,
            "roots": list(roots)}


def _values(entry):
    return (getattr(entry, field.name) for field in dataclasses.fields(entry))


def _write_line(file, digest, values, hashed=None):
    line = json.dumps(values).encode() + b"\n"
    digest.update(line if hashed is None else json.dumps(hashed).encode() + b"\n")
    file.write(line)


def _item(values, roots):
    values[2] = roots[values[2]]
    values[5] = None if values[5] is None else tuple(map(tuple, values[5]))
    values[6] = None if values[6] is None else tuple(values[6])
    return Item(*values)
