"""The walls between the rooms, and the house rules that a program can check."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
ROOMS = ("dnnlib", "torch_utils", "voice2style", "metrics", "training")
MAY_IMPORT = {
    "dnnlib": {"dnnlib"},
    "torch_utils": {"dnnlib", "torch_utils"},
    "voice2style": {"dnnlib", "torch_utils", "voice2style"},
    "metrics": {"dnnlib", "torch_utils", "metrics"},
    "training": set(ROOMS),
}
DOORS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "setup")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")) + [ROOT / f"{door}.py" for door in DOORS]


def imported(path):
    """Yields the top-level name of every module that a file imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_lies_below(room):
    for path in (ROOT / room).rglob("*.py"):
        names = set(imported(path))
        assert names & set(ROOMS) <= MAY_IMPORT[room], path
        assert not names & set(DOORS), f"{path} imports a door"


def test_the_ground_needs_no_torch():
    for path in (ROOT / "dnnlib").rglob("*.py"):
        allowed = sys.stdlib_module_names | {"dnnlib"} | ({"click"} if path.name == "command_line.py" else set())
        assert set(imported(path)) <= allowed, path


def test_doors_never_import_each_other():
    for door in DOORS:
        assert not set(imported(ROOT / f"{door}.py")) & set(DOORS), door


def test_pickle_stays_in_the_foreign_room():
    for path in FILES:
        names = set(imported(path))
        if "foreign" not in path.parts:
            assert not names & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}, path


@pytest.mark.parametrize("pattern", [
    "except Exception", "except:", "strict=False", "weights_only=False", "import pkg_resources", "import distutils"])
def test_forbidden_ways(pattern):
    assert [str(path) for path in FILES if pattern in path.read_text(encoding="utf-8")] == []


def test_every_file_says_what_it_does():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no first line"
        assert path.stem not in {"utils", "util", "misc", "helpers", "helper", "common", "base", "core"}, path


def test_budgets_of_files_and_functions():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{path} has {text.count(chr(10))} lines, the budget is 400"
        assert max(map(len, text.splitlines()), default=0) <= 120, f"{path} has a line longer than 120"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                limit = 150 if "loop" in path.stem else 60
                size = node.end_lineno - node.lineno + 1
                assert size <= limit, f"{path}: {node.name} has {size} lines, the budget is {limit}"


def test_names_that_published_pickles_refer_to_do_not_exist():
    for name in ("torch_utils/persistence.py", "torch_utils/misc.py", "dnnlib/util.py", "dnnlib/tflib"):
        assert not (ROOT / name).exists(), name
    assert not any("class EasyDict" in path.read_text(encoding="utf-8") for path in FILES)


def test_the_way_from_voice_to_face_imports_only_what_it_uses():
    code = ("import sys, voice2style; assert 'torch' not in sys.modules; "
            "import voice2style.command_line, voice2style.pipeline, voice2style.audio, "
            "voice2style.encoders.se_resnet, "
            "voice2style.generators.stylegan2, voice2style.rendering; "
            "heavy = {'librosa', 'numba', 'torchvision', 'scipy.signal', 'matplotlib', 'lpips', 'cleanfid'}; "
            "found = heavy & set(sys.modules); assert not found, found")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
