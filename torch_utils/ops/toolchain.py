"""Which compiler builds the native ops, for which GPUs, with which flags: facts about this machine, or why not."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ASK_SECONDS = 60  # a compiler that does not tell its version by then hangs
GENERATIONS = {"volta": "7.0", "turing": "7.5", "ampere": "8.0;8.6", "ada": "8.9", "hopper": "9.0",
               "blackwell": "10.0;12.0"}


class CannotBuild(Exception):
    """Says in one clause why native ops cannot be built or loaded here; told: the user has read it already."""

    def __init__(self, reason, *, told=False):
        super().__init__(reason)
        self.told = told


class Toolchain(NamedTuple):
    """A compiler for one library of native ops: of device type "cpu" or "cuda", or "simd".

    compile: words before "-c SOURCE -o OBJECT". link: words before "OBJECTS -o LIBRARY". version: what it says of
    itself. suffix: of the sources it takes. label: for people.
    """

    device_type: str
    compile: tuple[str, ...]
    link: tuple[str, ...]
    version: str
    suffix: str
    label: str


def find_toolchain(device_type: str) -> Toolchain:
    """Return the Toolchain for "cpu", "cuda" or "simd"; CannotBuild says what lacks."""
    if sys.platform == "win32":
        raise CannotBuild("they are built on Linux and macOS only")
    return _cuda() if device_type == "cuda" else _host(device_type)


def find_ninja() -> list[str]:
    """Return the words that start ninja: the program, or the Python package of that name."""
    if path := shutil.which("ninja"):
        return [path]
    try:
        import ninja
    except ImportError:
        raise CannotBuild("ninja is not installed (pip install ninja)") from None
    return [str(Path(ninja.BIN_DIR) / "ninja")]


def find_nvcc() -> str | None:
    """Return the path of nvcc: in $CUDA_HOME or $CUDA_PATH, on the PATH, in /usr/local/cuda; None if there is none."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    for candidate in [*(str(Path(home) / "bin" / "nvcc") for home in homes), "nvcc", "/usr/local/cuda/bin/nvcc"]:
        if path := shutil.which(candidate):
            return path
    return None


def find_host_compiler() -> str | None:
    """Return the path of a C++ compiler on the PATH: g++, clang++ or c++; None if there is none."""
    return next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)


def _host(name):
    compiler = _host_compiler()
    flags, version = ("-std=c++17", "-fPIC", "-Wall", "-Wextra"), _ask(*compiler, "--version")
    if name == "cpu":
        flags, link = ("-O2", *flags, "-ffp-contract=off"), (*compiler, "-shared")
        return Toolchain(name, (*compiler, *flags), link, version, ".cpp", "host")
    native = "-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native"
    flags = ("-O3", *flags, native, "-fno-math-errno", "-Wno-psabi", "-pthread")
    link = (*compiler, "-shared", "-pthread", "-ldl")
    return Toolchain(name, (*compiler, *flags), link, version + _processor(), ".cpp", "processor")


def _host_compiler():
    """Returns the words before a C++ compiler's flags; $CXX may be several, as in "ccache g++"."""
    wish = os.environ.get("CXX", "").strip()
    if wish:
        first, *more = wish.split()
        if shutil.which(first) is None:
            raise CannotBuild(f'CXX is "{wish}", and there is no such program (name a C++ compiler, or unset CXX)')
        return shutil.which(first), *more
    compiler = find_host_compiler()
    if compiler is None:
        raise CannotBuild("there is no C++ compiler (install g++ or set CXX)")
    return (compiler,)


def _processor():
    """What this machine's processor can do, so that a home folder shared by machines holds a library for each kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def _cuda():
    import torch

    if torch.version.hip:
        raise CannotBuild("this torch is built for ROCm, the native ops are CUDA")
    if torch.version.cuda is None:
        raise CannotBuild("this torch is a CPU build")
    wanted = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    if not wanted.strip() and not torch.cuda.is_available():
        raise CannotBuild("there is no CUDA GPU (set TORCH_CUDA_ARCH_LIST to compile for one)")
    nvcc = find_nvcc()
    if nvcc is None:
        raise CannotBuild(f"there is no nvcc (install the CUDA {torch.version.cuda} toolkit or set CUDA_HOME)")
    if find_host_compiler() is None:
        raise CannotBuild("there is no C++ compiler for nvcc to use (install g++)")
    version = _ask(nvcc, "--version")
    check_major(version, torch.version.cuda)
    targets = choose_targets(wanted, list_known(_ask(nvcc, "--list-gpu-arch")), _capabilities)
    flags = ("-O3", "-std=c++17", "-Xcompiler", "-fPIC", *(target.flag for target in targets))
    label = ", ".join(str(target) for target in targets)
    return Toolchain("cuda", (nvcc, *flags), (nvcc, "-shared", *flags[4:]), version, ".cu", label)


def check_major(version_text: str, torch_cuda: str) -> None:
    """Raise CannotBuild when nvcc is of another major version than the CUDA of this torch."""
    found = re.search(r"release (\d+)\.(\d+)", version_text)
    if found is None:
        raise CannotBuild("nvcc does not tell its version")
    if found[1] != torch_cuda.split(".")[0]:
        raise CannotBuild(f"nvcc is {found[1]}.{found[2]}, but this torch is built for CUDA {torch_cuda} "
                          f"(set CUDA_HOME to a toolkit of the same major version)")


class Target(NamedTuple):
    """One GPU generation to compile for: 90 is compute capability 9.0; suffix "a" or "f"; as machine code or PTX."""

    number: int
    suffix: str = ""
    machine_code: bool = True
    ptx: bool = False

    def __str__(self):
        return f"sm_{self.number}{self.suffix}" if self.machine_code else f"PTX of compute_{self.number}{self.suffix}"

    @property
    def flag(self) -> str:
        """The option of nvcc."""
        name = f"{self.number}{self.suffix}"
        kinds = [f"sm_{name}"] * self.machine_code + [f"compute_{name}"] * self.ptx
        return f"-gencode=arch=compute_{name},code=[{','.join(kinds)}]"


def choose_targets(wanted: str, known: list[int], capabilities) -> list[Target]:
    """Return the Targets that TORCH_CUDA_ARCH_LIST names ("8.0;9.0+PTX", "Ampere"), or those of the GPUs present.

    known: what nvcc can compile for. capabilities: called for [(major, minor), ..] of the GPUs when wanted is empty.
    """
    if not wanted.strip():
        return sorted({_for_gpu(10 * major + minor, known) for major, minor in capabilities()})
    targets = []
    for word in re.split(r"[;,\s]+", wanted.strip()):
        name, plus, _ = word.lower().partition("+ptx")
        for part in GENERATIONS.get(name, name).split(";"):
            found = re.fullmatch(r"(\d+)\.(\d)([af]?)", part)
            if found is None:
                raise CannotBuild(f'TORCH_CUDA_ARCH_LIST has "{word}"; allowed: numbers like 8.6 or 9.0+PTX, or '
                                  f"{', '.join(generation.capitalize() for generation in GENERATIONS)}")
            number = int(found[1] + found[2])
            if number not in known:
                raise CannotBuild(f'TORCH_CUDA_ARCH_LIST has "{word}"; this nvcc knows {_spell(known)}')
            targets.append(Target(number, found[3], ptx=bool(plus)))
    return sorted(set(targets))


def _for_gpu(number, known):
    if number in known:
        return Target(number)
    if number > max(known):  # a newer card than this nvcc: the driver translates
        return Target(max(known), machine_code=False, ptx=True)
    older = [k for k in known if k // 10 == number // 10 and k < number]  # machine code runs within a generation
    if not older:
        raise CannotBuild(f"this GPU is of compute capability {number // 10}.{number % 10}, nvcc knows {_spell(known)} "
                          "(use an nvcc that knows it)")
    return Target(max(older))


def _spell(known):
    return ", ".join(f"{number // 10}.{number % 10}" for number in sorted(known))


def list_known(text: str) -> list[int]:
    """Return [75, 80, ..] from what nvcc --list-gpu-arch prints."""
    numbers = sorted(int(number) for number in re.findall(r"compute_(\d+)\b", text))
    if not numbers:
        raise CannotBuild("nvcc does not list the GPUs that it can compile for")
    return numbers


def _capabilities():
    import torch

    return [torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())]


def _ask(*words):
    try:
        answer = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace",
                                timeout=ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotBuild(f"{' '.join(words)} fails ({str(error).splitlines()[0]})") from error
    return answer.stdout
