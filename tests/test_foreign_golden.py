"""Published networks against reference numbers of the original programs, where the shared folder is there."""

import copy
import json
import os
import pathlib

import numpy as np
import pytest
import torch

import voice2style

SHARED = pathlib.Path(os.environ.get("V2S_SHARED") or pathlib.Path(__file__).parents[2] / "shared")
CHECKPOINTS, GOLDEN = SHARED / "checkpoints", SHARED / "golden"
FILES = sorted(p.name for p in CHECKPOINTS.glob("*")) if CHECKPOINTS.is_dir() else []
SAMPLES = [
    n for n in FILES if "__" not in n and not n.startswith("REFUSE") and (GOLDEN / n).with_suffix(".npz").exists()
]
needs_samples = pytest.mark.skipif(
    not FILES, reason="needs the shared folder with sample checkpoints and golden numbers"
)
TOLERANCE = {"out64": 1e-9, "out32": 1e-4}


def calls(name, generator, discriminator, golden, dtype):
    """The result of ours for one golden output, or None where it does not belong to this network."""
    t = {k: torch.from_numpy(golden[k]).to(dtype) for k in golden if k.startswith("in/")}
    c = t.get("in/c") if generator.c_dim else None
    if name.startswith("map"):
        psi = 0.7 if "0.7" in name else 1
        ws = generator.mapping(
            t["in/z"], c, truncation_psi=psi, truncation_cutoff=4 if name.endswith("cutoff4") else None
        )
        return ws[:, 0] if name == "map" else ws
    if name.startswith("syn"):
        return generator.synthesis(t["in/ws"], noise_mode="none" if "none" in name else "const", force_fp32=True)
    if name.startswith("G_psi"):
        return generator(t["in/z"], c, truncation_psi=float(name[5:8]), noise_mode="const", force_fp32=True)
    if name.startswith("D_logits") and not name.endswith("groupNone"):
        n = int(name.split("_n")[1].split("_")[0])
        return discriminator(t["in/img"][:n], t["in/c_img"][:n] if discriminator.c_dim else None, force_fp32=True)
    return None


@needs_samples
@pytest.mark.parametrize("sample", SAMPLES)
def test_tensors_and_outputs_of_the_original_programs(sample):
    golden = dict(np.load((GOLDEN / sample).with_suffix(".npz")))
    networks = voice2style.load_networks(CHECKPOINTS / sample)
    rosinality = sample.startswith("rosi")
    for network, prefix in (
        (networks.G_ema, "nvG/" if rosinality else "G/"),
        (networks.D, "nvD/" if rosinality else "D/"),
    ):
        found = network.state_dict()
        for name, wanted in ((k[len(prefix) :], v) for k, v in golden.items() if k.startswith(prefix)):
            if not (rosinality and name == "mapping.w_avg"):  # the file has none: it is estimated
                assert np.array_equal(found[name].numpy(), wanted), name
    if rosinality:
        networks.G_ema.mapping.w_avg.copy_(torch.from_numpy(golden["nvG/mapping.w_avg"]).reshape(-1))
    checked = 0
    for tag, dtype in (("out64", torch.float64), ("out32", torch.float32)):
        g, d = copy.deepcopy(networks.G_ema).to(dtype), copy.deepcopy(networks.D).to(dtype)
        for key in (k for k in golden if k.startswith(tag + "/")):
            result = calls(key.split("/")[1], g, d, golden, dtype)
            if result is not None:
                tolerance = TOLERANCE[tag]
                assert np.abs(result.numpy().reshape(golden[key].shape) - golden[key]).max() < tolerance, key
                checked += 1
    assert checked >= 5 and json.loads(str(golden["meta"]))["name"] == sample.rpartition(".")[0]


@needs_samples
@pytest.mark.parametrize("variant", [n for n in FILES if "__" in n])
def test_variants_of_the_same_weights_give_identical_tensors(variant):
    original = next(CHECKPOINTS.glob(variant.split("__")[0] + ".pkl"))
    wanted, found = voice2style.load_networks(original), voice2style.load_networks(CHECKPOINTS / variant)
    half = "half" in variant
    assert found.G_ema is not None
    for role in ("G_ema", "G", "D"):
        if (network := getattr(found, role)) is not None:
            ours, theirs = network.state_dict(), getattr(wanted, role).state_dict()
            assert set(ours) == set(theirs)
            for name, tensor in theirs.items():
                assert torch.equal(ours[name], tensor.half().float() if half else tensor), (role, name)


@needs_samples
@pytest.mark.parametrize("name", [n for n in FILES if n.startswith("REFUSE")])
def test_samples_to_be_refused(name, capfd):
    with pytest.raises(ValueError, match="builtins.print|StyleGAN3|StyleGAN1"):
        voice2style.load_networks(CHECKPOINTS / name)
    assert capfd.readouterr() == ("", "")
