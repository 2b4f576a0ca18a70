"""The build of native ops: modes, toolchains, one attempt and its memory, the lock, the CUDA sources.

A shell script stands in for the compiler where only the bookkeeping is tested.
"""

import ctypes
import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torch_utils.ops import build, native, toolchain
from torch_utils.ops.toolchain import CannotBuild, Target, check_major, choose_targets, list_known

ROOT = Path(__file__).parents[1]
KNOWN = [75, 80, 86, 89, 90, 100, 120]
NVCC_13 = "Cuda compilation tools, release 13.0, V13.0.88"
COMPILER = """#!/bin/sh
# Answers like a compiler: counts what it is asked, then does ACTION with the file behind -o.
if [ "$1" = --version ]; then echo "fake 1.0"; exit 0; fi
while [ "$1" != -o ]; do shift; done
echo x >> "{count}"
{action}
"""


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """Builds in an empty folder and asks V2S_OPS anew."""
    for name in ("V2S_OPS", "V2S_OPS_REBUILD", "TORCH_CUDA_ARCH_LIST", "LOCAL_RANK", "MAX_JOBS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "built"))
    build.forget()
    yield
    build.forget()


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A function that makes CXX a script which does an action, and returns the file whose lines count its calls."""
    if sys.platform == "win32" or build.mode() != "auto":
        pytest.skip("the stand-in is a shell script")

    def make(action='echo built > "$2"'):
        script, count = tmp_path / "c++", tmp_path / "count"
        script.write_text(COMPILER.format(count=count, action=action))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CXX", str(script))
        return lambda: len(count.read_text().splitlines()) if count.exists() else 0

    return make


ALL = len(build.OPS["cpu"]) + 1  # compilations and one link


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("V2S_OPS", "fast")
    with pytest.raises(ValueError, match='V2S_OPS is "fast"; allowed: auto, ref, native'):
        build.library("cpu")


@pytest.mark.parametrize(("mode", "device"), [("auto", "cpu"), ("auto", "mps"), ("ref", "cpu"), ("ref", "cuda")])
def test_where_nothing_is_built(mode, device, monkeypatch):
    monkeypatch.setenv("V2S_OPS", mode)
    monkeypatch.setattr(build, "obtain", lambda device: pytest.fail("built something"))
    assert build.library(device) is None and not build.prepare(device)
    assert build.state("cpu") == f"plain torch (V2S_OPS={mode})"


def test_a_machine_without_gpu_compiles_nothing_while_it_draws(compiler):
    from torch_utils.ops.bias_act import bias_act
    from torch_utils.ops.upfirdn2d import setup_filter, upsample2d

    calls = compiler()
    upsample2d(bias_act(torch.zeros(1, 2, 4, 4), act="lrelu"), setup_filter([1, 3, 3, 1]))
    assert calls() == 0 and not Path(os.environ["TORCH_EXTENSIONS_DIR"]).exists()


def test_one_build_serves_everybody_after_it(compiler, capsys, monkeypatch):
    calls = compiler()
    monkeypatch.setenv("V2S_OPS", "native")
    assert build.state("cpu").startswith("not built yet (host); built on first use in ")
    path = build.obtain("cpu")
    assert path.read_text() == "built\n" and calls() == ALL
    said = capsys.readouterr().err
    assert said.startswith("Building native ops (host; about a minute) ... done in ") and said.count("\n") == 1
    assert build.obtain("cpu") == path and calls() == ALL and capsys.readouterr().err == ""
    assert not list(path.parent.glob("work-*")) and build.state("cpu") == f"built (host) in {path.parent}"


def test_a_failed_build_is_told_once_and_remembered(compiler, capsys, monkeypatch):
    calls = compiler('echo "launch.h:7: error: no space left in this test"; exit 1')
    with pytest.raises(CannotBuild, match="the build failed .launch.h:7: error: no space left in this test;"):
        build.obtain("cpu")
    said, tries = capsys.readouterr().err, calls()
    assert "failed: launch.h:7: error: no space left in this test; see" in said and said.count("\n") == 1
    with pytest.raises(CannotBuild, match="failed before .*build.log.*V2S_OPS_REBUILD=1 tries again"):
        build.obtain("cpu")
    assert calls() == tries and capsys.readouterr().err == ""
    monkeypatch.setenv("V2S_OPS", "native")
    assert "failed before" in build.state("cpu")
    with pytest.raises(ValueError, match="V2S_OPS=native, but native ops cannot be used: the build failed before"):
        build.library("cpu")
    monkeypatch.setenv("V2S_OPS_REBUILD", "1")
    with pytest.raises(CannotBuild, match="the build failed .launch"):
        build.obtain("cpu")
    assert calls() > tries


def test_a_build_that_hangs_is_ended_with_all_it_started(compiler, tmp_path, monkeypatch):
    compiler(f'echo $$ > "{tmp_path}/pid"; exec tail -f /dev/null')
    monkeypatch.setattr(build, "BUILD_SECONDS", 3)  # a busy machine starts a compiler within them
    monkeypatch.setenv("MAX_JOBS", "1")
    with pytest.raises(CannotBuild, match="it took longer than 3s"):
        build.obtain("cpu")
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_damaged_library_is_built_again(compiler):
    calls = compiler()
    path = build.obtain("cpu")
    path.write_text("")
    assert build.obtain("cpu").read_text() == "built\n" and calls() == 2 * ALL
    (path.parent / "verdict.json").write_text("{")
    build.obtain("cpu")
    assert calls() == 3 * ALL


def test_a_library_that_does_not_load_is_an_error_in_one_sentence(compiler, monkeypatch):
    compiler()
    monkeypatch.setenv("V2S_OPS", "native")
    with pytest.raises(ValueError, match="native ops cannot be used: the library does not load"):
        build.library("cpu")


OBTAIN = ("import sys; sys.path.insert(0, {root!r}); from torch_utils.ops import build; print('ready', flush=True)\n"
          "print(build.obtain('cpu'))")
HOLD = ("import fcntl, sys; file = open({path!r}, 'a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('ready', flush=True); sys.stdin.read()")


def start(code):
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_at_once_build_once_and_a_killed_holder_leaves_no_lock(compiler, capsys):
    calls = compiler()
    folder = build.folder_of(toolchain.find_toolchain("cpu"))
    folder.mkdir(parents=True)
    holder = start(HOLD.format(path=str(folder / "lock")))
    other = start(OBTAIN.format(root=str(ROOT)))  # waits for the holder
    holder.send_signal(signal.SIGKILL)
    assert build.obtain("cpu") == folder / build.LIBRARY
    holder.communicate()
    out, err = other.communicate(timeout=60)
    assert out.strip() == str(folder / build.LIBRARY)
    assert calls() == ALL
    assert (err + capsys.readouterr().err).count("Building native ops") == 1


def test_a_compiler_may_speak_in_any_bytes(monkeypatch, tmp_path):
    """In the words of another locale, or with the name of a folder in them."""
    script = tmp_path / "g++"
    script.write_bytes(b"#!/bin/sh\necho 'g++ 12, libert\xe9'\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    assert toolchain.find_toolchain("simd").version.startswith("g++ 12, libert")


def test_the_folder_tells_sources_and_toolchains_apart(compiler, tmp_path, monkeypatch):
    compiler()
    tools = toolchain.find_toolchain("cpu")
    folders = {build.folder_of(tools), build.folder_of(tools._replace(version="fake 2.0")),
               build.folder_of(tools._replace(compile=(*tools.compile, "-g")))}
    monkeypatch.setattr(torch, "__version__", "99.0")
    folders.add(build.folder_of(tools))
    for source in build.SOURCES.iterdir():
        if source.is_file():
            (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    with open(tmp_path / "fused.h", "a") as file:
        file.write("// changed\n")
    folders.add(build.folder_of(tools))
    assert len(folders) == 5


def test_a_folder_that_cannot_be_written_is_said(compiler, tmp_path, monkeypatch):
    compiler()
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "file"))
    with pytest.raises(CannotBuild, match="the folder .* cannot be used"):
        build.obtain("cpu")


def test_a_full_disk_is_one_line_and_not_remembered(compiler, monkeypatch, capsys):
    calls = compiler()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(build.shutil, "copyfile", full)
        assert build.library("simd") is None
    said = capsys.readouterr().err.strip()
    assert "failed: No space left on device; see" in said and said.count("\n") == 0 and calls() == 0
    assert build.obtain("simd").exists()


def without_programs(monkeypatch, tmp_path):
    for name in ("CXX", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain.shutil, "which", lambda program: None)


@pytest.mark.parametrize("wish, words", [("env g++", ["g++"]), ("g+++", None), ("  ", [])])
def test_the_compiler_is_the_one_that_was_wished_for_or_none(monkeypatch, wish, words):
    monkeypatch.setenv("CXX", wish)
    if words is None:
        with pytest.raises(toolchain.CannotBuild, match='CXX is "g...", and there is no such program'):
            toolchain.find_toolchain("simd")
        return
    found = toolchain.find_toolchain("simd")
    assert list(found.compile[1:1 + len(words)]) == words and "-std=c++17" in found.compile


def test_without_a_compiler_everything_runs_with_one_line_said(monkeypatch, tmp_path, capsys):
    without_programs(monkeypatch, tmp_path)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.version, "hip", None)
    assert build.library("cuda") is None and build.library("cuda") is None
    said = capsys.readouterr().err
    assert said == ("Native ops are not used: there is no nvcc (install the CUDA 13.0 toolkit or set CUDA_HOME). "
                    "Plain torch runs instead, slower.\n")
    build.forget()
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert build.library("cuda") is None and capsys.readouterr().err == ""
    build.forget()
    monkeypatch.setenv("V2S_OPS", "native")
    with pytest.raises(ValueError, match="there is no C.. compiler .install g.. or set CXX"):
        build.library("cpu")
    with pytest.raises(ValueError, match="there are none for mps"):
        build.library("mps")


def test_without_ninja(monkeypatch, compiler):
    compiler()
    monkeypatch.setitem(sys.modules, "ninja", None)
    monkeypatch.setattr(toolchain.shutil, "which", lambda program: None if program == "ninja" else program)
    with pytest.raises(CannotBuild, match="ninja is not installed .pip install ninja"):
        build.obtain("cpu")


@pytest.mark.parametrize(("cuda", "hip", "match"), [(None, None, "this torch is a CPU build"),
                                                    ("12.4", "6.0", "built for ROCm")])
def test_a_torch_without_cuda(cuda, hip, match, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    with pytest.raises(CannotBuild, match=match):
        build.obtain("cuda")


def test_nvcc_of_another_major_version_is_refused():
    check_major(NVCC_13, "13.2")
    with pytest.raises(CannotBuild, match="nvcc is 13.0, but this torch is built for CUDA 12.8 .set CUDA_HOME"):
        check_major(NVCC_13, "12.8")
    with pytest.raises(CannotBuild, match="does not tell its version"):
        check_major("nvcc", "13.0")


def test_gpus_are_taken_from_the_environment_or_from_those_present():
    def present(*numbers):
        return lambda: [divmod(number, 10) for number in numbers]

    assert choose_targets("8.0;9.0+PTX", KNOWN, None) == [Target(80), Target(90, ptx=True)]
    assert choose_targets("Ampere hopper", KNOWN, None) == [Target(80), Target(86), Target(90)]
    assert choose_targets("9.0a, 12.0", KNOWN, None) == [Target(90, "a"), Target(120)]
    assert choose_targets(" ", KNOWN, present(90, 90, 80)) == [Target(80), Target(90)]
    assert choose_targets("", KNOWN, present(87)) == [Target(86)]  # runs on the same generation
    assert choose_targets("", KNOWN, present(130)) == [Target(120, machine_code=False, ptx=True)]
    assert Target(90, "a", ptx=True).flag == "-gencode=arch=compute_90a,code=[sm_90a,compute_90a]"
    assert str(Target(120, machine_code=False, ptx=True)) == "PTX of compute_120"
    with pytest.raises(CannotBuild, match='has "7.0"; this nvcc knows 7.5, 8.0'):
        choose_targets("7.0", KNOWN, None)
    with pytest.raises(CannotBuild, match='has "fast"; allowed: numbers like 8.6'):
        choose_targets("9.0 fast", KNOWN, None)
    with pytest.raises(CannotBuild, match="this GPU is of compute capability 7.0, nvcc knows 7.5"):
        choose_targets("", KNOWN, present(70))
    assert list_known("compute_75\ncompute_90\ncompute_121\n") == [75, 90, 121]
    with pytest.raises(CannotBuild, match="does not list"):
        list_known("")


def test_ninja_quotes_what_a_shell_would_read():
    tools = toolchain.Toolchain("cpu", ("/a b/c++", "-DX=$Y"), ("/a b/c++",), "", ".cpp", "")
    assert "command = '/a b/c++' '-DX=$$Y' -c $in -o $out" in build.ninja_file(tools, ["one.cpp"])
    assert build.first_error("ninja: go\nx.h:3: Error: boom.\nmore") == "x.h:3: Error: boom"
    assert build.first_error("") == "no output"


def test_the_sources_lie_beside_the_module():
    there = {path.relative_to(build.SOURCES).as_posix() for path in build.SOURCES.rglob("*")
             if path.suffix in (".h", ".cpp", ".cu")}
    assert there == {name for names in build.FILES.values() for name in names}


def test_an_installation_without_the_sources(compiler, tmp_path, monkeypatch):
    compiler()
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setenv("V2S_OPS", "native")
    with pytest.raises(CannotBuild, match="this installation lacks their sources .*launch.h"):
        build.obtain("cpu")
    assert "lacks their sources" in build.state("cpu")


def compile_cuda(archs, monkeypatch):
    """Returns the library of the CUDA sources compiled for GPUs of these numbers; in the cache folder, as a user's."""
    nvcc = toolchain.find_nvcc()
    if nvcc is None or toolchain.find_host_compiler() is None:
        pytest.skip("no nvcc on this machine: the CUDA sources are not compiled")
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")  # compiled once for all runs of the tests
    release = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    monkeypatch.setattr(torch.version, "cuda", release.partition("release ")[2].partition(",")[0])
    monkeypatch.setattr(torch.version, "hip", None)
    known = list_known(subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout)
    numbers = archs(known)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", ";".join(f"{number // 10}.{number % 10}" for number in numbers))
    path = build.obtain("cuda")
    log = (path.parent / "build.log").read_text()
    assert "warning" not in log.lower(), log
    return ctypes.CDLL(str(path))


def test_the_cuda_sources_compile(monkeypatch):
    library = compile_cuda(lambda known: [90 if 90 in known else max(known)], monkeypatch)
    for op, struct in native.CALLS.items():
        assert getattr(library, f"v2s_sizeof_{op}")() == ctypes.sizeof(struct)
    if not torch.cuda.is_available():  # then a launch is an answer in words, not a crash
        library.v2s_bias_act.restype = ctypes.c_char_p
        call = native.BiasActCall(num_elements=1, bias_stride=1, bias_size=1, kind=2)
        assert b"CUDA" in library.v2s_bias_act(ctypes.byref(call), None)


@pytest.mark.slow
def test_the_cuda_sources_compile_for_every_gpu(monkeypatch):
    compile_cuda(lambda known: known, monkeypatch)
