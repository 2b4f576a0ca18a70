"""The README tells the truth: its file map, its links, its commands."""

import importlib
import pathlib
import re
import shlex
import subprocess
import sys

import click
import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_after(marker):
    """Returns the lines of the first fenced block after a comment."""
    return re.search(r"```\w*\n(.*?)```", README[README.index(marker):], re.DOTALL)[1].splitlines()


def test_file_map_names_every_door_and_room_and_nothing_else():
    named = {word for line in block_after("<!-- file map") for word in re.findall(r"\S+/(?=\s)|\S+\.py", line)}
    assert all((ROOT / name).exists() for name in named), [name for name in named if not (ROOT / name).exists()]
    doors = {path.name for path in ROOT.glob("*.py")} - {"setup.py"}
    rooms = {f"{path.parent.relative_to(ROOT)}/" for path in ROOT.glob("*/__init__.py")}
    rooms |= {f"{path.parent.relative_to(ROOT)}/" for path in ROOT.glob("voice2style/*/__init__.py")}
    assert doors | rooms <= named, (doors | rooms) - named


def test_links_and_pictures_lead_somewhere():
    for page in [ROOT / "README.md", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_its_commands_run(tmp_path):
    lines = block_after("<!-- these commands are run")
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "python" and (ROOT / words[1]).exists(), line
        words = [str(tmp_path / word) if word == "out" or word.startswith("out/") else word for word in words[1:]]
        result = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"
    made = {path.name for path in tmp_path.joinpath("out").iterdir()}
    assert {"hello.png", "hello.npz", "four", "seeds", "again"} <= made


def commands_of(page):
    """Returns the commands of a page's code: python NAME.py … and python -m training.NAME …, one list of words each."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\$ )?python ((?:\w+\.py|-m training\.\w+)\b.*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines if "…" not in line]


@pytest.mark.parametrize("page", ["README.md", "MODEL_CARD.md", *(f"docs/{page.name}" for page in
                                                                  (ROOT / "docs").glob("*.md"))])
def test_every_command_of_every_page_parses(page):
    """Each option is one that the door has, with a value that it takes; nothing is run."""
    for words in commands_of(ROOT / page):
        module, rest = (words[1], words[2:]) if words[0] == "-m" else (words[0].removesuffix(".py"), words[1:])
        found = importlib.import_module(module)
        command = getattr(found, "main", None) or getattr(found, module)
        try:
            context = command.make_context(module, list(rest))
            if isinstance(command, click.Group):
                name, *rest = ["images", *rest] if rest[0].startswith("-") else rest  # dataset_tool.py --source ...
                inner = command.get_command(context, name)
                assert inner is not None, f"{page}: {module}.py has no {name}"
                inner.make_context(name, rest, parent=context)
        except click.exceptions.Exit:
            pass  # --help
        except click.ClickException as error:
            pytest.fail(f"{page}: python {shlex.join(words)}: {error.format_message()}")


def test_pages_have_commands():
    """So that the test above looks at something."""
    found = {page.name: len(commands_of(page)) for page in (ROOT / "docs").glob("*.md")}
    assert found["metrics.md"] >= 5 and found["voice_metrics.md"] >= 5 and found["training.md"] >= 3


def test_its_python_runs():
    import voice2style

    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    names = {}
    exec(compile(code.replace('"voice2style/demo', f'"{ROOT}/voice2style/demo'), "README.md", "exec"), names)
    image = names["image"]
    assert image.shape[:2] == (1, 3) and image.abs().max() <= 1
    assert voice2style.__version__


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"make {target}" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
