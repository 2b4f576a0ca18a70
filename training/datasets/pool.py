"""Makes the pieces of a build in worker processes; a file that kills its reader is set aside, the rest goes on."""

import concurrent.futures
import functools
import hashlib
import multiprocessing
import pathlib
import re
import threading
import unicodedata

from dnnlib.console import warn
from training.datasets.face_build import build_face
from training.datasets.items import Unusable
from training.datasets.journal import Journal
from training.datasets.source_files import Sources
from training.datasets.voice_build import build_features, build_voice

_AHEAD = 3  # pieces in flight for each worker
_START = "spawn"  # fork is not safe in a process that has threads, as PyTorch makes them


def make_pieces(journal, settings, pieces, *, workers, progress=None):
    """Makes those of `pieces` that are not finished. OSError if worker processes cannot work at all."""
    total = sum(journal.num_items(piece) for piece in pieces)
    todo = [piece for piece in pieces if not journal.is_finished(piece)]
    done = total - sum(journal.num_items(piece) for piece in todo)

    def tell(piece):
        nonlocal done
        done += journal.num_items(piece)
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(done, total)
    if workers <= 1 or len(todo) <= 1:
        for piece in todo:
            make_piece(journal.folder, piece, settings)
            tell(piece)
        return
    while todo:
        suspects = _run(journal, settings, todo, workers, tell)
        for piece in suspects:
            _make_carefully(journal, settings, piece)
            tell(piece)
        todo = [piece for piece in todo if not journal.is_finished(piece)]


def _pool(workers):
    return concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context(_START), _start_worker)


def _run(journal, settings, todo, workers, tell):  # -> pieces that were being made when a worker died
    """Makes pieces until all are made or a worker dies."""
    flying, waiting = {}, iter(todo)
    with _pool(min(workers, len(todo))) as pool:
        try:
            for piece in waiting:
                flying[pool.submit(make_piece, journal.folder, piece, settings)] = piece
                while len(flying) >= _AHEAD * workers:
                    _take(flying, tell)
            while flying:
                _take(flying, tell)
            return []
        except concurrent.futures.BrokenExecutor:
            warn("A worker process died (out of memory, or a file that breaks its decoder); the files that it may have "
                 "been reading are read again one at a time.")
            return sorted(piece for piece in flying.values() if not journal.is_finished(piece))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _take(flying, tell):
    """Waits for a piece. A future that failed stays in `flying`, for it names a suspect."""
    ready, _ = concurrent.futures.wait(flying, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in ready:
        future.result()
        tell(flying.pop(future))


def _make_carefully(journal, settings, piece):
    """Makes a piece in a process of its own; an item on which it dies twice is refused."""
    marker, deaths = journal.folder / "reading", {}
    while True:
        marker.unlink(missing_ok=True)
        refused = tuple(number for number, count in deaths.items() if count > 1)
        with _pool(1) as pool:
            try:
                pool.submit(make_piece, journal.folder, piece, settings, marker=marker, refused=refused).result()
                marker.unlink(missing_ok=True)
                return
            except concurrent.futures.BrokenExecutor:
                if not marker.exists():
                    raise OSError("worker processes die before they read anything, perhaps for lack of memory; take "
                                  "fewer --workers.") from None
        number = int(marker.read_text())
        deaths[number] = deaths.get(number, 0) + 1


def _start_worker():
    """One thread a worker; it ends with its parent, however that ends, and leaves Ctrl-C to it."""
    import os
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow():
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@functools.lru_cache(maxsize=1)
def _sources():
    return Sources()


@functools.lru_cache(maxsize=1)
def _detector(name, model):
    from training.datasets.detectors import open_detector

    return open_detector(name, model)


def make_piece(folder, piece, settings, *, marker=None, refused=()):
    """Makes a piece of the journal in `folder`.

    Each item becomes {root, row, size} or {root, path, person, reason, stage}; root is its number in the plan. `marker`
    is a file that gets the number of each item before it is read; items whose numbers are `refused` are not.
    """
    journal = Journal(folder)
    first, items = journal.items(piece)
    contents, outcomes = [], []
    for number, item in enumerate(items, first):
        root = journal.plan["roots"].index(item.root)
        if marker is not None:
            pathlib.Path(marker).write_text(str(number))
        try:
            if number in refused:
                raise Unusable("broken: the process that read it died")
            content, suffix, fields = _make(item, settings)
        except Unusable as error:
            reason = " ".join(str(error).split())
            outcomes.append({"root": root, "path": item.path, "person": item.person, "reason": reason,
                             "stage": item.kind})
            continue
        except ValueError as error:
            raise ValueError(f'no {item.kind} was made of "{item.path}" in "{item.root}", and that file is not to '
                             f"blame: {' '.join(str(error).split())}") from error
        row = {"kind": item.kind, "path": f"{item.kind}s/{_folder_name(item.person)}/{number:08d}.{suffix}",
               "person": item.person, "split": item.split, "sha256": hashlib.sha256(content).hexdigest(),
               "source": item.path, **fields}
        extra = {name: value for name, value in item.extra.items() if name not in row and name != "needs_av"}
        outcomes.append({"root": root, "row": {**row, **({"extra": extra} if extra else {})}, "size": len(content)})
        contents.append(content)
    journal.write_piece(piece, contents, outcomes)


def _make(item, settings):  # -> bytes, suffix, fields
    if item.kind == "face":
        detect = None if settings.face.detector is None else _detector(settings.face.detector, settings.face.model)
        content, fields = build_face(_sources().read(item.root, item.path), item, settings.face, detect)
        return content, "png", fields
    if "features" in item.extra:
        content, fields = build_features(_sources().read(item.root, item.path), item)
        return content, "npy", fields
    with _sources().local_file(item.root, item.path) as path:
        content, fields = build_voice(path, item, settings.voice)
    part = {"start_s": item.start_s, "end_s": item.end_s}
    return content, settings.voice.audio, fields | {name: value for name, value in part.items() if value is not None}


def _folder_name(person):
    """A name that every file system and zip tool takes; it need not be unique, for files are numbered."""
    plain = unicodedata.normalize("NFKD", str(person)).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_")[:60] or "person"
