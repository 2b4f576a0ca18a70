"""Which backend draws, in which precision: chosen by name, refused where it is not there, the same pictures."""

import subprocess
import sys

import pytest
import torch
from conftest import build_tiny_model

from torch_utils import precision, threads
from voice2style import backends
from voice2style.generators.fast_stylegan2 import FastSynthesis


@pytest.fixture(scope="module")
def model():
    return build_tiny_model().requires_grad_(False)


@torch.inference_mode()
def test_an_accelerated_model_draws_the_same_faces(model):
    ws = torch.randn(2, model.num_ws, model.w_dim, generator=torch.Generator().manual_seed(0))
    wanted = model.synthesis(ws)
    assert model.accelerate() == "torch, frozen plan, fp32"
    assert isinstance(model._engine, FastSynthesis)
    torch.testing.assert_close(model.synthesis(ws), wanted, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_exact_pictures_of_a_model_that_draws_in_bfloat16(model, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device="cpu": True)
    assert model.accelerate(precision="bf16") == "torch, frozen plan, bf16"
    ws = torch.zeros(1, model.num_ws, model.w_dim)
    wanted = model.generator.synthesis(ws, noise_mode="const", force_fp32=True)
    assert torch.equal(model.synthesis(ws, force_fp32=True), wanted)


def test_gradients_still_come_from_the_network(model):
    model.accelerate()
    ws = torch.randn(1, model.num_ws, model.w_dim, requires_grad=True)
    model.synthesis(ws).sum().backward()
    assert ws.grad.abs().max() > 0


def test_precision_is_asked_of_the_processor(model, monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device="cpu": False)
    assert backends.resolve_precision(model, "auto") == "fp32"
    with pytest.raises(ValueError, match="no bfloat16 instructions; use fp32 or auto"):
        backends.resolve_precision(model, "bf16")
    monkeypatch.setattr(precision, "has_bf16", lambda device="cpu": True)
    assert backends.resolve_precision(model, "auto") == "fp32", "a small picture"
    monkeypatch.setattr(model.generator, "img_resolution", 512)
    assert backends.resolve_precision(model, "auto") == "bf16"
    assert backends.resolve_precision(model, "fp32") == "fp32"


def test_unknown_wishes(model):
    with pytest.raises(ValueError, match="allowed: torch, openvino with auto, fp32, bf16"):
        backends.engine_for(model, backend="tpu")


def test_a_double_precision_model_draws_by_itself():
    model = build_tiny_model().double().requires_grad_(False)
    assert model.accelerate() == "torch on cpu"
    assert model.synthesis(torch.zeros(1, model.num_ws, model.w_dim, dtype=torch.float64)).dtype == torch.float64


@torch.inference_mode()
def test_openvino_draws_the_same_faces_and_refuses_fresh_noise(model):
    for package in ("openvino", "onnx", "onnxscript"):
        pytest.importorskip(package)
    ws = torch.randn(2, model.num_ws, model.w_dim, generator=torch.Generator().manual_seed(0))
    wanted = model.generator.synthesis(ws, noise_mode="const")
    assert model.accelerate(precision="fp32", backend="openvino") == "OpenVINO, fp32"
    torch.testing.assert_close(model.synthesis(ws), wanted, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="noise_mode is 'random'.*--backend torch"):
        model.synthesis(ws, noise_mode="random")


def test_openvino_that_is_not_installed_is_one_sentence(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match=r'pip install "voice2style\[openvino,onnx\]"'):
        backends.engine_for(model, backend="openvino")


def test_free_cores_are_bounded_by_the_containers_quota(tmp_path):
    def cores(v2=None, quota=None, period=None):
        paths = []
        for name, text in (("v2", v2), ("quota", quota), ("period", period)):
            paths.append(tmp_path / name)
            paths[-1].unlink(missing_ok=True)
            if text is not None:
                paths[-1].write_text(text)
        return threads.free_cores(quota_files=paths)

    everything = cores()
    assert everything >= 1
    assert cores(v2="max 100000\n") == everything
    assert cores(v2="150000 100000\n") == 1
    assert cores(v2="50000 100000\n") == 1, "at least one"
    assert cores(v2="99900000 100000\n") == everything
    assert cores(quota="-1", period="100000") == everything
    assert cores(quota="100000", period="100000") == 1


@pytest.mark.parametrize(("given", "wanted"), [({}, None), ({"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "ACTIVE"}, 3),
                                               ({"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "7"}, 2)])
def test_threads_are_settled_before_torch_and_what_the_user_set_stays(given, wanted):
    code = ("import os, sys; from torch_utils.process import prepare_process; "
            "from torch_utils.threads import free_cores;"
            "_, n = prepare_process(); assert 'torch' not in sys.modules;"
            "print(n == free_cores(), n, os.environ['OMP_NUM_THREADS'], os.environ['OMP_WAIT_POLICY'],"
            "os.environ.get('GOMP_SPINCOUNT'))")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                            env={"PATH": "", **given})
    same, number, variable, policy, spins = result.stdout.split()
    assert number == variable and policy == given.get("OMP_WAIT_POLICY", "PASSIVE")
    assert spins == given.get("GOMP_SPINCOUNT", "None" if given else "10000")
    assert int(number) == wanted if wanted else same == "True"


def test_the_trial_of_bfloat16_is_a_ratio():
    assert precision.measured_gain(channels=4, size=8, rounds=1) > 0
