"""Generator and discriminator against published programs: names and shapes, outputs, losses and all gradients.

The arrays lie beside the repository (shared/golden); each file says in its meta entry which program made it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.path_length import path_length_loss, path_lengths
from training.losses.r1 import r1_loss, r1_penalty
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators.stylegan2 import Generator, GeneratorSettings, channel_table

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
TOLERANCE = {"out64": 1e-9, "out32": 1e-4, "out16": 0.05}

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no shared/golden beside the repository")


def names(*patterns):
    return sorted(path.stem for pattern in patterns for path in GOLDEN.glob(f"{pattern}.npz"))


class Case:
    """One golden file: its networks, rebuilt from its meta entry and its state, and its arrays."""

    def __init__(self, name):
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.arrays = {key: file[key] for key in file.files}
        self.name, self.meta = name, json.loads(str(self.arrays.pop("meta")))
        self.G = self._filled(Generator(self.generator_settings(name)), "nvG/" if name.startswith("rosi") else "G/")
        self.D = self._filled(Discriminator(self.discriminator_settings(name)),
                              "nvD/" if name.startswith("rosi") else "D/")

    def _filled(self, network, prefix):
        state = {key[len(prefix):]: torch.from_numpy(value) for key, value in self.arrays.items()
                 if key.startswith(prefix)}
        if prefix.startswith("nv"):  # these files hold neither the filters nor the mean code
            state.update({key: value for key, value in network.named_buffers() if key.endswith("resample_filter")})
        if prefix == "nvG/":
            state.setdefault("mapping.w_avg", self["latent_avg"])
        network.load_state_dict(state)
        return network.eval().requires_grad_(False)

    def generator_settings(self, name):
        if name.startswith("rosi"):
            return GeneratorSettings(img_resolution=self.meta["size"], channels=self._rosinality_channels(),
                                     z_dim=self.meta["style_dim"], w_dim=self.meta["style_dim"],
                                     mapping_layers=self.meta["n_mlp"], scaled_demodulation=True)
        kwargs = self.meta.get("G_init_kwargs") or self.meta["nv_G_kwargs"]
        static = self.meta.get("G_static_kwargs", {})
        picture = kwargs.get("synthesis_kwargs", kwargs)
        resolution = kwargs.get("img_resolution") or static["resolution"]
        optional = {key: kwargs["mapping_kwargs"][key] for key in ("layer_features", "embed_features")
                    if key in kwargs["mapping_kwargs"]}
        return GeneratorSettings(
            img_resolution=resolution, z_dim=kwargs["z_dim"], w_dim=kwargs["w_dim"],
            channels=channel_table(resolution, picture["channel_base"], picture["channel_max"]),
            c_dim=kwargs.get("c_dim", static.get("label_size", 0)), conv_clamp=picture["conv_clamp"],
            architecture=picture.get("architecture", "skip"), num_fp16_res=picture["num_fp16_res"],
            mapping_layers=kwargs["mapping_kwargs"]["num_layers"], w_avg_beta=self.meta.get("w_avg_beta", 0.995),
            fp16_on_cpu=name.startswith("ada"), **optional)

    def discriminator_settings(self, name):
        if name.startswith("rosi"):
            return DiscriminatorSettings(img_resolution=self.meta["size"], channels=self._rosinality_channels())
        kwargs = self.meta.get("D_init_kwargs") or self.meta["nv_D_kwargs"]
        static = self.meta.get("D_static_kwargs", {})
        resolution = kwargs.get("img_resolution") or static["resolution"]
        mapping = kwargs["mapping_kwargs"]
        return DiscriminatorSettings(
            img_resolution=resolution, c_dim=kwargs.get("c_dim", static.get("label_size", 0)),
            channels=channel_table(resolution, kwargs["channel_base"], kwargs["channel_max"]),
            architecture=kwargs.get("architecture", "resnet"), num_fp16_res=kwargs["num_fp16_res"],
            conv_clamp=kwargs["conv_clamp"], cmap_dim=kwargs.get("cmap_dim"),
            mapping_layers=mapping.get("num_layers", 8), mapping_lr_multiplier=mapping.get("lr_multiplier", 0.01),
            mbstd_group_size=kwargs["epilogue_kwargs"]["mbstd_group_size"], fp16_on_cpu=name.startswith("ada"))

    def _rosinality_channels(self):
        return tuple(self.meta["channels"].values())

    def __getitem__(self, key):
        return torch.from_numpy(np.asarray(self.arrays[key]))

    def has(self, key):
        return key in self.arrays

    def check(self, key, came, atol):
        wanted = self[key]
        came = came.detach().to(wanted.dtype)
        torch.testing.assert_close(came, wanted, rtol=0, atol=atol, msg=lambda text: f"{key}: {text}")


@pytest.fixture(scope="module", params=names("ada-*", "sg3-*", "tf-*", "rosi-*"))
def case(request):
    return Case(request.param)


@pytest.mark.parametrize("run", TOLERANCE)
def test_outputs(case, run):
    dtype = torch.float64 if run == "out64" else torch.float32
    G, D = case.G.to(dtype), case.D.to(dtype)
    z, ws, img = (case[f"in/{key}"].to(dtype) for key in ("z", "ws", "img"))
    c, c_img = (case[f"in/{key}"].to(dtype) if case.has(f"in/{key}") else None for key in ("c", "c_img"))
    exact = {"force_fp32": run != "out16"}
    outputs = {
        "map": lambda: G.mapping(z, c)[:, 0],
        "map_psi1": lambda: G.mapping(z, c),
        "map_psi0.7": lambda: G.mapping(z, c, truncation_psi=0.7),
        "map_psi0.7_cutoff4": lambda: G.mapping(z, c, truncation_psi=0.7, truncation_cutoff=4),
        "syn_const": lambda: G.synthesis(ws, noise_mode="const", **exact),
        "syn_const_nonfused": lambda: G.synthesis(ws, noise_mode="const", **exact),
        "syn_const_n1_fused": lambda: G.synthesis(ws[:1], noise_mode="const", **exact),
        "syn_none": lambda: G.synthesis(ws, noise_mode="none", **exact),
        "G_psi0.7_const": lambda: G(z, c, truncation_psi=0.7, noise_mode="const", **exact),
        "G_psi0.5_const": lambda: G(z, c, truncation_psi=0.5, noise_mode="const", **exact),
    }
    for n in (8, 4, 2, 1):
        outputs[f"D_logits_n{n}"] = lambda n=n: D(img[:n], None if c_img is None else c_img[:n], **exact)
    wanted = [key.split("/")[1] for key in case.arrays if key.startswith(f"{run}/")]
    known = [key for key in wanted if key in outputs]
    assert set(wanted) - set(known) <= {"w_avg_after_update", "D_logits_n8_groupNone", "D_logits_n8_group4"}
    if not known:
        pytest.skip(f"{case.name} has no {run}")
    tolerance = TOLERANCE[run]
    with torch.no_grad():
        for key in known:
            case.check(f"{run}/{key}", outputs[key](), tolerance)


@pytest.mark.parametrize(("key", "group_size"), [("groupNone", None), ("group4", 4)])
@pytest.mark.parametrize("name", names("tf-*"))
def test_discriminator_group_sizes(name, key, group_size):
    case = Case(name)
    case.D.b4.mbstd.group_size = group_size
    case.check(f"out32/D_logits_n8_{key}", case.D(case["in/img"], case["in/c_img"], force_fp32=True), 1e-4)


@pytest.mark.parametrize("name", names("ada-*", "sg3-*"))
def test_running_mean_follows_the_batch(name):
    case = Case(name)
    case.G.double().mapping(case["in/z"].double(), case["in/c"].double(), update_emas=True)
    case.check("out64/w_avg_after_update", case.G.mapping.w_avg, 1e-9)


def check_training(case, phase, loss, network, extra):
    """Compare a loss, the numbers beside it, and every parameter gradient with the golden ones."""
    case.check(f"tr/{phase}/loss", loss, 1e-9)
    for key, value in extra.items():
        case.check(f"tr/{phase}/{key}", value, 1e-9)
    named = dict(network.named_parameters())
    grads = dict(zip(named, torch.autograd.grad(loss, named.values(), allow_unused=True, materialize_grads=True)))
    norms = dict(zip(case.arrays[f"tr/{phase}/gradnorm_names"].tolist(), case[f"tr/{phase}/gradnorm_all"], strict=True))
    assert set(norms) == set(grads)
    for key, grad in grads.items():
        torch.testing.assert_close(grad.norm(), norms[key], rtol=1e-9, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")
    for full in case.arrays:
        if full.startswith((f"tr/{phase}/grad/", f"tr/{phase}/gradslice/")):
            key = full.split("/", 3)[3]
            wanted = case[full]
            corner = grads[key][tuple(slice(size) for size in wanted.shape)]
            torch.testing.assert_close(corner, wanted, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module", params=names("ada-*", "sg3-*"))
def training_case(request):
    case = Case(request.param)
    case.G.double().requires_grad_(True)
    case.D.double().requires_grad_(True)
    return case


def test_generator_loss(training_case):
    case = training_case
    ws = case.G.mapping(case["tr/z"], case["tr/c"])
    logits = case.D(case.G.synthesis(ws, noise_mode="const"), case["tr/c"])
    check_training(case, "Gmain", generator_loss(logits), case.G, {"logits": logits})


def test_path_length(training_case):
    case = training_case
    ws = case.G.mapping(case["tr/z"][:2], case["tr/c"][:2])
    img = case.G.synthesis(ws, noise_mode="const")
    lengths = path_lengths(img, ws, case["tr/pl_noise"])
    start, weight = torch.tensor(case.meta["pl_mean0"], dtype=torch.float64), case.meta["pl_weight"]
    loss, mean = path_length_loss(lengths, start, decay=case.meta["pl_decay"], weight=weight)
    check_training(case, "Gpl", loss, case.G, {
        "lengths": lengths, "pl_mean_new": mean, "penalty": (lengths - mean).square()})


def test_discriminator_loss(training_case):
    case = training_case
    with torch.no_grad():
        fake = case.G.synthesis(case.G.mapping(case["tr/z"], case["tr/c"]), noise_mode="const")
    fake_logits = case.D(fake, case["tr/c"])
    real_logits = case.D(case["in/img"][:4].double(), case["tr/real_c"])
    check_training(case, "Dmain", discriminator_loss(real_logits, fake_logits), case.D,
                   {"fake_logits": fake_logits, "real_logits": real_logits})


def test_r1_penalty(training_case):
    case = training_case
    real = case["in/img"][:4].double().requires_grad_()
    logits = case.D(real, case["tr/real_c"])
    check_training(case, "Dr1", r1_loss(logits, real, gamma=case.meta["r1_gamma"]), case.D,
                   {"penalty": r1_penalty(logits, real)})


def published_listings():
    path = GOLDEN / "shapes_nvidia_ada.json"
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize("title", published_listings())
def test_names_and_shapes_are_the_published_ones(title):
    """Titles read like "r256 c10 skip/resnet cbase16384 D"; the networks are built without memory for their weights."""
    resolution, c_dim, architectures, base, which = title.split()
    resolution, common = int(resolution[1:]), {"c_dim": int(c_dim[1:]), "img_resolution": int(resolution[1:])}
    common["channels"] = channel_table(resolution, int(base.removeprefix("cbase")))
    with torch.device("meta"):
        if which == "G":
            network = Generator(GeneratorSettings(architecture=architectures.split("/")[0], **common))
        else:
            network = Discriminator(DiscriminatorSettings(architecture=architectures.split("/")[1], **common))
    wanted = published_listings()[title]
    assert {key: list(value.shape) for key, value in network.named_parameters()} == wanted["parameters"]
    assert {key: list(value.shape) for key, value in network.named_buffers()} == wanted["buffers"]
