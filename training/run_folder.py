"""The folder of a run: found again or made new, with its log, statistics, states and pictures."""

import contextlib
import json
import os
import pathlib
import re
import resource
import sys
import time

from dnnlib.console import format_time, say
from dnnlib.files import atomic_path
from torch_utils.checkpoint import write_archive
from torch_utils.distributed import is_first, value_of_first
from torch_utils.running_stats import RunningStats
from training.settings import MAY_CHANGE
from training.states import FORMAT, States, read_state

_NOT_COMPARED = ("run", "command")  # how a run is carried out does not make it another run


class RunFolder:
    """`<outdir>/00000-<desc>/`. The same options on the same outdir go on in the folder they made before.

    `options`: what makes this run this run, as JSON. `notes`: what else belongs into training_options.json. `latest`:
    go on in the newest folder instead; the settings of MAY_CHANGE may then differ. Only the first of several ranks
    writes. `with folder:` copies all of stdout and stderr to log.txt and keeps other processes out of the folder.
    """

    def __init__(self, outdir, desc, options, *, notes=None, latest=False, keep_states=2):
        self.options, self._notes = json.loads(json.dumps(options)), notes or {}
        self.path = _place(outdir, desc, self.options, latest, make=True)
        self.states = States(self.path, keep=keep_states)
        self._tee, self._lock, self.warned = None, None, set()
        self.started = time.time()
        if not is_first():
            return
        try:
            self._log = open(self.path / "log.txt", "a", encoding="utf-8", errors="replace")
        except OSError as error:
            raise _not_writable(self.path, error) from error
        if _compared(_options_of(self.path)) in (None, _compared(self.options)):
            self.note_options()

    def __enter__(self):
        if is_first():
            self._lock = _locked(self.path)
            for leftover in self.path.glob(".*.part*"):  # of a process that was killed while it wrote
                leftover.unlink(missing_ok=True)
            self._tee = contextlib.ExitStack()
            self._tee.enter_context(contextlib.redirect_stdout(Tee(sys.stdout, self._log)))
            self._tee.enter_context(contextlib.redirect_stderr(Tee(sys.stderr, self._log)))
        return self

    def __exit__(self, *_):
        if self._tee is not None:
            self._tee.close()
            self._lock.close()
            self._tee = None

    def note_options(self):
        """Writes training_options.json: from now on this command finds the folder.

        A command with other settings (`latest`) does so only once its state was taken up: one that is refused leaves
        the run to the command that it belongs to.
        """
        if not is_first():
            return
        try:
            with atomic_path(self.path / "training_options.json") as temporary:
                temporary.write_text(json.dumps({**self.options, **self._notes}, indent=2), encoding="utf-8")
        except OSError as error:
            raise _not_writable(self.path, error) from error

    def say(self, line):
        """Prints a line and appends it to log.txt; other ranks are silent."""
        if is_first():
            say(line)
            if self._tee is None:
                print(line, file=self._log, flush=True)

    def warn_once(self, key, line):
        """Prints a warning the first time that it is given."""
        if key not in self.warned:
            self.warned.add(key)
            self.say(f"Warning: {line}")

    def append(self, name, line):
        """Appends one JSON line to a file of the folder, whole or not at all; a full disk is a warning."""
        content = (json.dumps(line) + "\n").encode()
        try:
            append_whole(self.path / name, content)
        except OSError as error:
            self.warn_once(f"append {name}", f"{name} cannot be written ({error.strerror}); the run goes on.")

    def append_stats(self, stats):
        """Appends one line to stats.jsonl: {"name": {"num", "mean", "std"}, …, "timestamp"}."""
        self.append("stats.jsonl", {**stats, "timestamp": time.time()})

    def save_state(self, state):
        """Writes the one state of a short run; the one before stays until the new one is whole."""
        with atomic_path(self.path / "state.pt") as temporary:
            write_archive(temporary, {"format": FORMAT, **state})

    def load_state(self):
        """Returns what `save_state` wrote, or None in a new folder; ValueError when it is damaged."""
        path = self.path / "state.pt"
        return read_state(path) if path.exists() else None

    def check_state(self, state):
        """Raises ValueError when a state was made under other settings than this run's."""
        mine, theirs = _compared(self.options), _compared(state["options"])
        for name in MAY_CHANGE:
            mine.pop(f"settings.{name}", None), theirs.pop(f"settings.{name}", None)
        for name in ("resume", "settings.resume_kimg"):  # where the weights came from at first
            mine.pop(name, None), theirs.pop(name, None)
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                raise ValueError(
                    f'the state in "{self.path}" is of another configuration: it has {name} = {theirs.get(name)!r}, '
                    f"this command {mine.get(name)!r}; give its options again, or another --outdir.")


def append_whole(path, content):
    """Appends bytes by one write; what a full disk took of them is cut off again. Cuts a torn last line first."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        end = os.lseek(file, 0, os.SEEK_END)
        if end and os.pread(file, 1, end - 1) != b"\n":  # the power failed in the middle of a line
            tail = os.pread(file, min(end, 1 << 20), max(end - (1 << 20), 0))
            end -= len(tail) - (tail.rfind(b"\n") + 1)
            os.ftruncate(file, end)
        try:
            if os.write(file, content) != len(content):
                raise OSError(28, os.strerror(28))
        except OSError:
            os.ftruncate(file, end)
            raise
    finally:
        os.close(file)


def has_state(outdir, desc, options, *, latest=False):
    """Returns whether RunFolder with the same arguments would go on from a state; makes nothing."""
    folder = _place(outdir, desc, json.loads(json.dumps(options)), latest)
    return value_of_first(bool(States(folder).paths()) if is_first() else None)


def _place(outdir, desc, options, latest, *, make=False):
    """Returns the folder of a run in every rank, as the first one finds it; `make`: there is one then."""
    path = None
    if is_first():
        path, there = _find(pathlib.Path(outdir), desc, options, latest)
        while make and not there and not _made(path):  # another run, started at the same time, took the name
            path, there = _find(pathlib.Path(outdir), desc, options, latest)
    return pathlib.Path(value_of_first(None if path is None else str(path)))


def _made(path):
    """Makes a new folder; returns False when the name is taken."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        raise _not_writable(path, error) from error
    return True


def _not_writable(path, error):
    return ValueError(f'the run folder "{path}" cannot be written ({error.strerror}); give another --outdir.')


def _find(outdir, desc, options, latest):
    """Returns (folder of the run, True): that of the same options or the newest one; or (a new name, False)."""
    try:
        there = list(outdir.iterdir()) if outdir.exists() else []
        found = sorted((int(match[1]), path) for path in there if (match := re.match(r"(\d+)-", path.name)))
    except OSError as error:
        raise ValueError(f'--outdir "{outdir}" cannot be used ({error.strerror}); give a folder that can be written.'
                         ) from error
    if latest:
        same = [path for _, path in found if (_options_of(path) or {}).get("task") == options.get("task")]
    else:
        same = [path for _, path in found if _compared(_options_of(path)) == _compared(options)]
    if same:
        return same[-1], True
    return outdir / f"{max((number for number, _ in found), default=-1) + 1:05d}-{desc}", False


def _options_of(path):
    try:
        return json.loads((path / "training_options.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _compared(options):
    """Returns what makes a run another run, as one flat table."""
    if not isinstance(options, dict):
        return None
    flat = {name: value for name, value in options.items() if name not in (*_NOT_COMPARED, "settings")}
    return flat | {f"settings.{name}": value for name, value in (options.get("settings") or {}).items()}


def _locked(path):
    """Returns an open file that locks the folder for this process where the system can; ValueError if it is taken."""
    file = open(path / ".lock", "a", encoding="utf-8")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # no such locks on this system
    except BlockingIOError:
        file.close()
        raise ValueError(f'another process is training in "{path}"; wait for it, or give another --outdir.') from None
    except OSError:
        pass  # a network disk without locks
    return file


class Averages:
    """Means of named scalars over a tick, for the loops of short runs: `add` once an iteration, then `take`."""

    def __init__(self):
        self._stats = RunningStats()

    def add(self, values):
        """Takes a dict of numbers or 0-d tensors."""
        self._stats.add(values)
        self._stats.next_iteration()

    def take(self):
        """Returns {"name": {"num", "mean", "std"}} and starts afresh."""
        return self._stats.take()


class Tee:
    """A text stream that also writes whole lines to a log; progress bars leave only their last state there."""

    def __init__(self, stream, log):
        self._stream, self._log, self._line = stream, log, ""

    def write(self, text):
        """Writes to both."""
        self._stream.write(text)
        *lines, self._line = (self._line + text).split("\n")
        with contextlib.suppress(OSError, ValueError):  # a full disk must not end the run
            for line in lines:
                self._log.write(line.rstrip("\r").rpartition("\r")[2] + "\n")
            if lines:
                self._log.flush()
        return len(text)

    def flush(self):
        """Flushes the screen."""
        self._stream.flush()

    def __getattr__(self, name):
        return getattr(self._stream, name)


def memory_gb():
    """Returns this process's resident memory in GB (its peak where the present value cannot be read)."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**30 if sys.platform == "darwin" else 2**20)


def gpu_memory_gb():
    """Returns (peak of allocated, peak of reserved) GPU memory in GB since the last call; zeros without a GPU."""
    import torch

    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0.0, 0.0
    found = torch.cuda.max_memory_allocated() / 2**30, torch.cuda.max_memory_reserved() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return found


def tick_line(*, tick, kimg, total_s, tick_s, tick_kimg, maintenance_s, eta_s, images_per_s, augment=0.0, gpu_gb=0.0):
    """Returns the console line of a tick: the fields that log parsers know, then ETA and img/s."""
    return " ".join([
        f"tick {tick:<5d}", f"kimg {kimg:<8.1f}", f"time {format_time(total_s):<12s}", f"sec/tick {tick_s:<7.1f}",
        f"sec/kimg {tick_s / max(tick_kimg, 1e-9):<7.2f}", f"maintenance {maintenance_s:<6.1f}",
        f"cpumem {memory_gb():<6.2f}", f"gpumem {gpu_gb:<6.2f}", f"augment {augment:.3f}",
        f"eta {format_time(eta_s):<12s}", f"img/s {images_per_s:.1f}"])
