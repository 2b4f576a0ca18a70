"""The operators against numbers that the published programs gave (arrays beside the repository; see golden_cases)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from torch_utils.ops import upfirdn2d as resampling
from torch_utils.ops.bias_act import ACTIVATIONS, bias_act
from torch_utils.ops.modulated_conv import modulated_conv2d
from torch_utils.ops.resample import conv2d_resample
from voice2style.layers import Dense, MinibatchStd, normalize_2nd_moment

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
EXACT = {"rtol": 1e-9, "atol": 1e-9}
GAIN = {"rtol": 1e-6, "atol": 1e-6}  # the reference multiplies filter and gain in float32


def golden_cases(name, cases="cases"):
    """Return pytest parameters (case, its arrays), or one that is skipped where the arrays are not at hand."""
    path = GOLDEN / f"ops_{name}.npz"
    if not path.exists():
        return [pytest.param(None, None, marks=pytest.mark.skip(reason="no shared/golden beside the repository"))]
    with np.load(path) as file:
        table = json.loads(str(file[cases]))
        arrays = {key: torch.from_numpy(file[key]) for key in file.files if "/" in key}
    prefix = {"mbstd_cases": "mbstd", "fc_cases": "fc"}.get(cases, "")
    width = 0 if prefix else len(next(iter(arrays)).split("/")[0])
    rows = []
    for i, case in enumerate(table):
        start = f"{prefix}{i:0{width}d}/"
        own = {key[len(start):]: value for key, value in arrays.items() if key.startswith(start)}
        rows.append(pytest.param(case, own, id=start + "-".join(str(value) for value in case.values())))
    return rows


def leaf(array):
    return array.clone().requires_grad_()


@pytest.mark.parametrize(("case", "a"), golden_cases("setup_filter"))
def test_setup_filter(case, a):
    torch.testing.assert_close(resampling.setup_filter(**case), a["out"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("case", "a"), golden_cases("upfirdn2d"))
def test_upfirdn2d(case, a):
    options = {key: value for key, value in case.items() if key not in ("op", "f", "shape")}
    x = leaf(a["x"])
    y = getattr(resampling, case["op"])(x, a.get("f"), **options)
    torch.testing.assert_close(y, a["y"], **GAIN)
    torch.testing.assert_close(torch.autograd.grad(y, x, a["dy"])[0], a["dx"], **GAIN)


@pytest.mark.parametrize(("case", "a"), golden_cases("bias_act"))
def test_bias_act(case, a):
    x, b, dy = leaf(a["x"]), leaf(a["b"]) if "b" in a else None, leaf(a["dy"])
    options = {key: case[key] for key in ("alpha", "gain", "clamp") if key in case}
    y = bias_act(x, b, dim=case["dim"], act=case["act"], **options)
    torch.testing.assert_close(y, a["y"], **EXACT)
    dx, *db = torch.autograd.grad(y, [x] if b is None else [x, b], dy, create_graph=True)
    torch.testing.assert_close(dx, a["dx"], **EXACT)
    if db:
        torch.testing.assert_close(db[0], a["db"], **EXACT)
    second = torch.autograd.grad(dx, [x, dy], a["v"], allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(second[0], a["d2_x"], **EXACT)
    torch.testing.assert_close(second[1], a["d2_dy"], **EXACT)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_default_alpha_and_gain(act):
    if not (GOLDEN / "ops_bias_act.npz").exists():
        pytest.skip("no shared/golden beside the repository")
    with np.load(GOLDEN / "ops_bias_act.npz") as file:
        wanted = json.loads(str(file["defaults"]))[act]
    assert (ACTIVATIONS[act].alpha, ACTIVATIONS[act].gain) == pytest.approx((wanted["def_alpha"], wanted["def_gain"]))


@pytest.mark.parametrize(("case", "a"), golden_cases("conv2d_resample"))
def test_conv2d_resample(case, a):
    options = {key: value for key, value in case.items() if key not in ("f", "shape", "cout", "k")}
    x, w = leaf(a["x"]), leaf(a["w"])
    y = conv2d_resample(x, w, a.get("f"), **options)
    dx, dw = torch.autograd.grad(y, (x, w), a["dy"])
    for came, wanted in ((y, a["y"]), (dx, a["dx"]), (dw, a["dw"])):
        torch.testing.assert_close(came, wanted, **GAIN)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("case", "a"), golden_cases("modulated_conv2d"))
def test_modulated_conv2d(case, a, fused):
    options = {key: case[key] for key in ("demodulate", "up", "down", "padding", "flip_weight")}
    options.update(noise=a.get("noise"), resample_filter=resampling.setup_filter([1, 3, 3, 1]), fused=fused)
    inputs = [leaf(a[key]) for key in ("x", "w", "styles")]
    y = modulated_conv2d(*inputs, **options)
    torch.testing.assert_close(y, a["y"], **EXACT)
    for came, wanted in zip(torch.autograd.grad(y, inputs, a["dy"]), ("dx", "dw", "dstyles"), strict=True):
        torch.testing.assert_close(came, a[wanted], **EXACT)
    wanted = a.get("y16_fused" if fused else "y16_nonfused")
    if wanted is not None:
        # The file says: weights times 30, styles times 50. Without demodulation the result is that much larger.
        y = modulated_conv2d(a["x"].half(), a["w"].float() * 30, a["styles"].float() * 50, **options)
        scale = 1 if case["demodulate"] else float(wanted.abs().max())
        torch.testing.assert_close(y.float(), wanted, rtol=0, atol=0.005 * scale)


@pytest.mark.parametrize(("case", "a"), golden_cases("misc", "mbstd_cases"))
def test_minibatch_std(case, a):
    x = leaf(a["x"])
    y = MinibatchStd(**case)(x)
    torch.testing.assert_close(y, a["y"], **EXACT)
    torch.testing.assert_close(torch.autograd.grad(y, x, a["dy"])[0], a["dx"], **EXACT)


@pytest.mark.parametrize(("case", "a"), golden_cases("misc", "fc_cases"))
def test_dense(case, a):
    layer = Dense(a["w"].shape[1], a["w"].shape[0], **case).double()
    layer.load_state_dict({"weight": a["w"], **({"bias": a["b"]} if "b" in a else {})})
    x = leaf(a["x"])
    y = layer(x)
    came = torch.autograd.grad(y, [x, *layer.parameters()], a["dy"])
    names = ["dx"] + [{"weight": "dw", "bias": "db"}[name] for name, _ in layer.named_parameters()]
    torch.testing.assert_close(y, a["y"], **EXACT)
    for value, name in zip(came, names, strict=True):
        torch.testing.assert_close(value, a[name], **EXACT)
    assert layer.weight_gain == pytest.approx(case.get("lr_multiplier", 1) / math.sqrt(a["w"].shape[1]))


def test_normalize_2nd_moment():
    if not (GOLDEN / "ops_misc.npz").exists():
        pytest.skip("no shared/golden beside the repository")
    with np.load(GOLDEN / "ops_misc.npz") as file:
        x, y = (torch.from_numpy(file[key]) for key in ("norm2/x", "norm2/y"))
    torch.testing.assert_close(normalize_2nd_moment(x), y, **EXACT)
