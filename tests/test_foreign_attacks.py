"""Hostile and damaged files: each is refused with its own sentence, and nothing in it runs."""

import importlib
import pathlib
import random

import foreign_files as ff
import pytest
import torch

import voice2style
from voice2style.foreign import read

ATTACKS = sorted(file.stem for file in (pathlib.Path(__file__).parent / "attacks").glob("*.py"))
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused_with_its_own_message(tmp_path, name):
    attack = importlib.import_module(f"attacks.{name}")
    marker = tmp_path / "marker"
    file = attack.build(tmp_path, marker)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=attack.MESSAGE) as error:
        voice2style.load_networks(file)
    assert str(error.value).count("\n") == 0 and str(file) in str(error.value)
    assert not marker.exists() and sorted(tmp_path.rglob("*")) == before


def test_there_is_an_attack_for_every_exploit():
    assert len(ATTACKS) >= 45 and len({importlib.import_module(f"attacks.{n}").__doc__ for n in ATTACKS}) == len(
        ATTACKS
    )


def good_files(folder):
    """One small good file of every container."""
    from safetensors.torch import save_file

    g = ff.small_generator()
    nets = (ff.tf_generator(g, name="G"), None, ff.tf_generator(g))
    save_file(dict(g.state_dict()), folder / "plain.safetensors")
    return [
        ff.write_pickle(folder / "nvidia4.pkl", {"G_ema": ff.nvidia_module(g)}),
        ff.write_pickle(folder / "nvidia0.pkl", {"G_ema": ff.nvidia_module(g)}, protocol=0),
        ff.write_pickle(folder / "nvidia2.pkl", {"G_ema": ff.nvidia_module(g)}, protocol=2),
        ff.write_pickle(folder / "tf.pkl", nets),
        ff.write_torch(folder / "zip.pt", {"G_ema": ff.nvidia_module(g)}),
        ff.write_torch(folder / "old.pt", g.state_dict(), zipped=False),
        ff.write_torch(folder / "rosinality.pt", {"g_ema": ff.rosinality_generator(g)}),
        folder / "plain.safetensors",
    ]


def read_or_refuse(path):
    """True if the file was read; any error but ValueError goes through."""
    try:
        read(path)
    except ValueError as error:
        assert str(error).strip() and "\n" not in str(error)
        return False
    return True


def test_truncated_everywhere(tmp_path):
    for good in good_files(tmp_path):
        assert read_or_refuse(good), good
        data = good.read_bytes()
        cut = tmp_path / f"cut{good.suffix}"
        for i in range(12):
            cut.write_bytes(data[: len(data) * i // 12 + (i > 0) * 3])
            assert not read_or_refuse(cut), (good.name, i)
        cut.write_bytes(data[:-1])
        assert not read_or_refuse(cut) or good.name == "zip.pt", good.name


@pytest.mark.parametrize("seed", range(8))
def test_mutated_files_give_only_clean_errors(tmp_path, seed):
    rng = random.Random(seed)
    good = good_files(tmp_path)[seed]
    data = good.read_bytes()
    file = tmp_path / f"mutated{good.suffix}"
    for _ in range(40):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 8])):
            kind, at = rng.randrange(4), rng.randrange(len(changed))
            if kind == 0:
                changed[at] = rng.randrange(256)
            elif kind == 1:
                changed[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del changed[at : at + rng.randrange(1, 9)]
            else:
                other = rng.randrange(len(changed))
                changed[at:at] = changed[other : other + rng.randrange(1, 40)]
        file.write_bytes(changed)
        read_or_refuse(file)


MISTAKES = {
    "empty": (b"", "an empty file"),
    "web page": (b"<!DOCTYPE html><html>", "a web page"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "Keras"),
    "picture": (b"\x89PNG\r\n\x1a\n", "a picture"),
    "text": (b"hello there, this is text", "neither a pickle nor"),
    "a number": (b"\x80\x04K\x05.", "no StyleGAN2 network is in it; found: a int"),
    "tar": (b"x" * 257 + b"ustar" + b"\0" * 300, "tar archive"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_common_mistakes_are_named(tmp_path, name):
    data, message = MISTAKES[name]
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        voice2style.load_networks(tmp_path / "a.pkl")


def names(*keys):
    return {key: torch.ones(2, 2) for key in keys}


STRANGERS = {
    "StyleGAN3": names("synthesis.input.freqs", "synthesis.L0_36_512.weight", "mapping.fc0.weight"),
    "StyleGAN-XL": names("synthesis.L0_36_512.weight", "mapping.embed_proj.weight", "mapping.fc0.weight"),
    "EG3D": names("backbone.synthesis.b4.const", "superresolution.block0.conv0.weight", "decoder.net.0.weight"),
    "SWAGAN": {"g_ema": names("input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "to_rgbs.0.iwt.ll")},
    "mmagic": {"state_dict": names("generator_ema.constant_input.const", "generator_ema.style_mapping.1.weight")},
    "genforce": {"generator_smooth": names("mapping.dense0.weight", "synthesis.layer0.weight")},
    "lucidrains": {"GAN": names("G.initial_block", "S.net.0.weight"), "version": "1.8.1"},
    "FastGAN": {"g": names("module.init.init.0.weight_orig", "module.feat_8.0.weight")},
    "StyleGAN1": {"g_running": names("generator.progression.0.conv1.adain1.style.weight")},
    "ProGAN": {"avgG": names("scaleLayers.0.0.weight", "toRGBLayers.0.weight")},
    "synthesis part": names("b4.const", "b4.conv1.weight"),
    "without a decoder": {
        "state_dict": names("encoder.input_layer.0.weight", "encoder.body.0.shortcut_layer.0.weight")
    },
}


@pytest.mark.parametrize("name", STRANGERS)
def test_strangers_are_refused_by_name(tmp_path, name):
    for zipped in (True, False):
        with pytest.raises(ValueError, match=f"seems to be .*{name}.*readable are"):
            voice2style.load_networks(ff.write_torch(tmp_path / "a.pt", STRANGERS[name], zipped=zipped))


def test_half_precision_snapshot_within_the_memory_allowance(tmp_path):
    g = ff.small_generator()
    file = ff.write_pickle(tmp_path / "a.pkl", ff.nvidia_snapshot(g, transform=lambda t: t.half()))
    assert voice2style.load_networks(file).G_ema is not None


def test_nested_storages_read_as_torch_reads_them():
    from voice2style.foreign.inert import TensorRef
    from voice2style.foreign.torch_files import nested_storage
    from voice2style.foreign.windows import Allowance, memory_blob

    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool):
        tensor = torch.randn(7).to(dtype)
        stream, allowance = ff.nested_stream(tensor), Allowance(1 << 20)
        storage = nested_storage(memory_blob(stream), allowance)
        theirs = torch.load(__import__("io").BytesIO(stream), weights_only=True, map_location="cpu")
        wanted = torch.tensor([], dtype=dtype).set_(theirs)
        assert torch.equal(TensorRef(storage, 0, (7,), (1,)).load(allowance), wanted)
