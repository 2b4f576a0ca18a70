"""The style mixing command from outside: names, pictures that equal generate's, stored codes, bad input."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dnnlib.files import sha256_file
from style_mixing import style_mixing
from torch_utils.images import read_png_text
from voice2style.command_line import generate


@pytest.fixture
def run(tiny_voice_model, tmp_path):
    def call(*arguments, door=style_mixing, network=tiny_voice_model, exit_code=0):
        arguments = [*map(str, arguments), "--outdir", str(tmp_path / "out"), "--device=cpu", "--network", str(network)]
        result = CliRunner().invoke(door, arguments)
        assert result.exit_code == exit_code and "Traceback" not in result.output, result.output
        return result

    return call


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_rows_columns_mixes_and_the_grid(run, tmp_path, tiny_voice_model):
    result = run("--rows=1,2", "--cols=3,1", "--styles=0-2", "--trunc=0.7")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{row}-{col}.png" for row in (1, 2) for col in (3, 1)), "2-2.png", "3-3.png", "grid.png"])
    assert len(result.stdout.splitlines()) == 1 and not result.stderr
    run("--seeds=1-3", "--trunc=0.7", door=generate)
    for seed in (1, 2, 3):
        assert np.array_equal(pixels(out / f"{seed}-{seed}.png"), pixels(out / f"seed{seed:04d}.png"))
    grid = pixels(out / "grid.png")
    assert grid.shape == (48, 48, 3) and not grid[:16, :16].any()
    cells = {(0, 1): "3-3", (0, 2): "1-1", (1, 0): "1-1", (1, 1): "1-3", (2, 0): "2-2", (2, 1): "2-3", (2, 2): "2-1"}
    for (y, x), name in cells.items():
        assert np.array_equal(grid[16 * y:16 * y + 16, 16 * x:16 * x + 16], pixels(out / f"{name}.png"))
    chunks = read_png_text(out / "2-3.png")
    assert chunks["ai:model_sha256"] == sha256_file(tiny_voice_model) and chunks["ai:seed"] == "2,3"
    assert "AI-generated" in chunks["Description"] and json.loads(chunks["ai:options"])["styles"] == [0, 1, 2]


def test_half_precision_blocks_draw_as_generate_draws_them(run, tmp_path, tiny_half_model):
    run("--rows=1-4", "--cols=1", network=tiny_half_model)
    run("--seeds=1-4", door=generate, network=tiny_half_model)
    for seed in range(1, 5):
        assert np.array_equal(pixels(tmp_path / "out" / f"{seed}-{seed}.png"),
                              pixels(tmp_path / "out" / f"seed{seed:04d}.png"))


def test_stored_codes_take_part(run, tmp_path):
    ws = np.random.default_rng(0).standard_normal([2, 6, 16]).astype(np.float32)
    np.savez(tmp_path / "codes.npz", w=ws)
    mixed = ws[:1].copy()
    mixed[:, [1, 4]] = ws[1:, [1, 4]]
    np.savez(tmp_path / "mixed.npz", w=mixed)
    run("--row-codes", tmp_path / "codes.npz", "--col-codes", tmp_path / "codes.npz", "--styles=1,4")
    run("--projected-w", tmp_path / "mixed.npz", door=generate)
    assert np.array_equal(pixels(tmp_path / "out" / "row0-col1.png"), pixels(tmp_path / "out" / "proj00.png"))
    assert np.array_equal(pixels(tmp_path / "out" / "row0-row0.png"), pixels(tmp_path / "out" / "row0-col0.png"))


def test_conditional_networks(run, tmp_path, tiny_conditional_model):
    run("--rows=1", "--cols=2", "--styles=0", "--class=2", network=tiny_conditional_model)
    run("--seeds=1", "--class=2", door=generate, network=tiny_conditional_model)
    assert np.array_equal(pixels(tmp_path / "out" / "1-1.png"), pixels(tmp_path / "out" / "seed0001.png"))
    refused = run("--rows=1", "--cols=2", "--styles=0", network=tiny_conditional_model, exit_code=2)
    assert "--class with a number from 0 to 2" in refused.stderr


@pytest.mark.parametrize("arguments, told", [
    (["--rows=1", "--cols=2", "--styles=0-6"], "--styles has 6; this network has 6 style layers, allowed: 0-5"),
    (["--rows=1"], "--cols SEEDS or --col-codes"), (["--rows=a", "--cols=1"], "not a list of whole numbers"),
    (["--rows=1", "--row-codes=a.npz", "--cols=1"], "either --rows SEEDS or --row-codes"),
    (["--row-codes=missing.npz", "--cols=1", "--styles=0"], 'no such file: "missing.npz"'),
    (["--rows=4294967296", "--cols=1", "--styles=0"], "2**32"),
])
def test_bad_input(run, tmp_path, arguments, told):
    result = run(*arguments, exit_code=2)
    assert told in result.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("out/*"))
