"""Builds the native ops with ninja on first use, once for each state of sources and compiler, and loads them.

There are three libraries: "cuda" for GPU tensors; "simd" for the processor, vectors as wide as its own; "cpu", the
kernels of "cuda" as plain loops, which are for tests and slow.
V2S_OPS: auto (default: "cuda" where there is a CUDA GPU, "simd" where there is a C++ compiler), ref (plain torch,
nothing is ever built), native (native or an error; ops on CPU tensors run as "cpu").
V2S_OPS_REBUILD=1 forgets an earlier build, failed or not. TORCH_CUDA_ARCH_LIST, CUDA_HOME, CXX and MAX_JOBS mean what
they mean to torch. The libraries lie in dnnlib.files.builds_dir().
"""

import contextlib
import ctypes
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dnnlib.console import format_time, warn
from dnnlib.files import atomic_path, builds_dir
from torch_utils.ops.toolchain import CannotBuild, find_ninja, find_toolchain

MODES = ("auto", "ref", "native")
BUILD_SECONDS = 900  # a build that takes longer hangs
SOURCES = Path(__file__).parent
_KERNELS = ("bias_act", "upfirdn2d", "fused")
_VECTOR_KERNELS = tuple(f"cpu/{name}" for name in (
    "winograd", "to_rgb", "block", "front_end", "layer_tail", "batched_conv", "weight_gradient", "thin_product"))
OPS = {"cpu": _KERNELS, "cuda": _KERNELS, "simd": _VECTOR_KERNELS}
_SHARED = ("launch.h", *(op + suffix for op in _KERNELS for suffix in (".h", ".cpp", ".cu")))  # a .cu has its .cpp
_HEADERS = tuple(f"cpu/{name}.h" for name in (
    "simd", "winograd_tiles", "winograd", "to_rgb", "fourier", "tile_windows"))
FILES = {"cpu": _SHARED, "cuda": _SHARED, "simd": (*_HEADERS, *(f"{op}.cpp" for op in _VECTOR_KERNELS))}
LIBRARY = "native.so"
_loaded = {}  # library -> ctypes.CDLL, or None where plain torch runs
_unbuilt = set()  # libraries that `built` missed


def mode() -> str:
    """Return what V2S_OPS says."""
    wanted = os.environ.get("V2S_OPS") or "auto"
    if wanted not in MODES:
        raise ValueError(f'V2S_OPS is "{wanted}"; allowed: {", ".join(MODES)}')
    return wanted


def library(device_type: str):
    """Return the ctypes library of native ops of a device type or "simd", or None where plain torch is to run.

    The first call may build. Mode auto says in one line why it does without; mode native raises ValueError instead.
    """
    if device_type in _loaded:
        return _loaded[device_type]
    wanted = mode()
    if wanted == "ref" or device_type == "meta" or (wanted == "auto" and device_type not in ("cuda", "simd")):
        return _loaded.setdefault(device_type, None)
    try:
        if device_type not in OPS:
            raise CannotBuild(f"there are none for {device_type}")
        found = _open(obtain(device_type))
    except CannotBuild as error:
        if wanted == "native":
            raise ValueError(f"V2S_OPS=native, but native ops cannot be used: {error}.") from error
        if _speaks() and not error.told:
            warn(f"Native ops are not used: {error}. Plain torch runs instead, slower.")
        found = None
    return _loaded.setdefault(device_type, found)


def prepare(device="cuda") -> bool:
    """Return whether tensors on device will use native ops, after building them if need be.

    Every rank may call it at once: one builds, the others wait for it.
    """
    return library(str(device).partition(":")[0]) is not None


def built(name: str):
    """Return `library(name)` where it is built already, else None; builds and says nothing, and looks only once."""
    if name not in _loaded:
        if name in _unbuilt or mode() == "ref":
            return None
        try:
            found = _verdict(folder_of(find_toolchain(name))) or {"ok": False}
        except CannotBuild:
            found = {"ok": False}
        if not found["ok"]:
            _unbuilt.add(name)
            return None
    return library(name)


def forget() -> None:
    """Ask V2S_OPS and the cache folder anew at the next call."""
    _loaded.clear()
    _unbuilt.clear()


def state(device_type: str) -> str:
    """Return in one clause how it stands with the native ops of a device type; builds nothing."""
    try:
        wanted = mode()
        if wanted == "ref" or (wanted == "auto" and device_type not in ("cuda", "simd")):
            return f"plain torch (V2S_OPS={wanted})"
        tools = find_toolchain(device_type)
        find_ninja()
        folder = folder_of(tools)
    except (CannotBuild, ValueError) as error:
        return f"plain torch: {error}"
    verdict = _verdict(folder)
    if verdict is None:
        return f"not built yet ({tools.label}); built on first use in {folder}"
    return f"built ({tools.label}) in {folder}" if verdict["ok"] else f"plain torch: {_remembered(verdict, folder)}"


def obtain(device_type: str) -> Path:
    """Return the path of the library "cpu", "cuda" or "simd", built now unless it was; CannotBuild says why not."""
    tools = find_toolchain(device_type)
    folder = folder_of(tools)
    rebuild = os.environ.get("V2S_OPS_REBUILD") == "1"
    verdict = None if rebuild else _verdict(folder)
    if verdict is None:
        ninja = find_ninja()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            asked = time.time()
            with _lock(folder / "lock"):
                verdict = _verdict(folder, since=asked if rebuild else 0)  # perhaps another process built meanwhile
                if verdict is None:
                    return _build(tools, ninja, folder)
        except OSError as error:
            raise CannotBuild(f"the folder {folder} cannot be used ({error.strerror or error})") from error
    if not verdict["ok"]:
        raise CannotBuild(_remembered(verdict, folder))
    return folder / LIBRARY


def folder_of(tools) -> Path:
    """Return the folder of the build that these sources and this toolchain give."""
    import torch

    digest = hashlib.sha256()
    try:
        for name in FILES[tools.device_type]:
            digest.update(name.encode() + (SOURCES / name).read_bytes())
    except OSError as error:
        raise CannotBuild(f"this installation lacks their sources ({error.filename})") from error
    for word in (*tools.compile, *tools.link, tools.version, torch.__version__):
        digest.update(b"\0" + word.encode())
    return builds_dir() / f"{tools.device_type}-{digest.hexdigest()[:16]}"


def _verdict(folder, since=0.0):
    """Returns {"ok", "reason"} of an earlier build, or None when there is none that still holds."""
    try:
        verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
        if verdict["when"] < since:
            return None
        if verdict["ok"] and (folder / LIBRARY).stat().st_size != verdict["num_bytes"]:
            return None
    except (OSError, ValueError, KeyError):
        return None
    return verdict


def _remembered(verdict, folder):
    return (f"the build failed before ({verdict['reason']}; {folder / 'build.log'}); V2S_OPS_REBUILD=1 tries again")


@contextlib.contextmanager
def _lock(path):
    """Holds the file's lock, which the system takes back when a process ends, however it ends."""
    import fcntl

    deadline = time.monotonic() + BUILD_SECONDS + 60
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CannotBuild(f"another process builds them since {format_time(BUILD_SECONDS)}") from None
                time.sleep(0.1)
        yield


def _build(tools, ninja, folder):
    """Builds in a folder of its own inside folder and leaves library, log and verdict; one attempt, one line."""
    for old in folder.glob("work-*"):  # of a process that was killed
        shutil.rmtree(old, ignore_errors=True)
    pace = "some seconds" if tools.device_type == "simd" else "about a minute"
    print(f"Building native ops ({tools.label}; {pace}) ...", end=" ", file=sys.stderr, flush=True)
    start, reason, num_bytes = time.monotonic(), "interrupted", 0
    try:
        with tempfile.TemporaryDirectory(prefix="work-", dir=folder, ignore_cleanup_errors=True) as work:
            reason = _run(tools, ninja, Path(work), folder / "build.log")
            if reason is None:
                os.replace(Path(work, LIBRARY), folder / LIBRARY)
                num_bytes = (folder / LIBRARY).stat().st_size
        _remember(folder, {"ok": reason is None, "reason": reason, "num_bytes": num_bytes, "when": time.time()})
    except OSError as error:  # of the disk, not of the sources: not remembered
        reason = error.strerror or str(error)
    finally:
        took = format_time(time.monotonic() - start)
        failed = f"failed: {reason}; see {folder / 'build.log'}. Plain torch runs instead, slower."
        print(f"done in {took}." if reason is None else failed, file=sys.stderr, flush=True)
    if reason is not None:
        raise CannotBuild(f"the build failed ({reason}; {folder / 'build.log'})", told=True)
    return folder / LIBRARY


def _remember(folder, verdict):
    with atomic_path(folder / "verdict.json") as path:
        path.write_text(json.dumps(verdict), encoding="utf-8")


def _run(tools, ninja, work, log):
    """Returns None after a build of LIBRARY in work, or why there is none."""
    names = [op + tools.suffix for op in OPS[tools.device_type]]
    for name in FILES[tools.device_type]:
        (work / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(SOURCES / name, work / name)
    (work / "build.ninja").write_text(ninja_file(tools, names), encoding="utf-8")
    jobs = os.environ.get("MAX_JOBS", "")
    with open(log, "wb") as out:
        process = subprocess.Popen([*ninja, "-C", str(work), *(["-j", jobs] if jobs.isdecimal() else [])], stdout=out,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = process.wait(timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            return f"it took longer than {format_time(BUILD_SECONDS)}"
        finally:
            _end(process)
    return None if code == 0 else first_error(log.read_text(encoding="utf-8", errors="replace"))


def _end(process):
    """Ends ninja if it still runs, also after Ctrl-C: asked to, it takes its compilers along, which have own groups."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ninja_file(tools, names: list[str]) -> str:
    """Return the text of build.ninja that compiles the sources called names and links them."""
    def words(command):
        return shlex.join(command).replace("$", "$$")

    objects = " ".join(f"{name}.o" for name in names)
    lines = ["rule compile", f"  command = {words(tools.compile)} -c $in -o $out",
             "rule link", f"  command = {words(tools.link)} $in -o $out"]
    lines += [f"build {name}.o: compile {name}" for name in names]
    return "\n".join([*lines, f"build {LIBRARY}: link {objects}", f"default {LIBRARY}", ""])


def first_error(log: str) -> str:
    """Return the line of a build's log that says most."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()] or lines[-1:] or ["no output"]
    return telling[0][:200].rstrip(".")


def _open(path):
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CannotBuild(f"the library does not load ({error})") from error


def _speaks():
    """Whether this process is the one of its machine that talks."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
