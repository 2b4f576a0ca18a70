"""Every readable kind, written by test writers from known networks, comes back with the same tensors and settings."""

import collections
import dataclasses

import foreign_files as ff
import pytest
import torch

import voice2style
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators.stylegan2 import Generator, GeneratorSettings

SMALL = {"img_resolution": 16, "channels": (12, 10, 8), "z_dim": 6, "w_dim": 8, "mapping_layers": 2}
SMALL_D = {"img_resolution": 16, "channels": (12, 10, 8)}


def generator(**changes):
    torch.manual_seed(3)
    network = Generator(GeneratorSettings(**{**SMALL, **changes})).requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if not name.endswith("resample_filter"):
            tensor.copy_(torch.randn_like(tensor))
    return network


def discriminator(**changes):
    torch.manual_seed(4)
    return Discriminator(DiscriminatorSettings(**{**SMALL_D, **changes})).requires_grad_(False)


def assert_same(found, wanted, *, factor=1, settings=True):
    """Same tensors, bit for bit, and the same settings."""
    assert found is not None
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor * factor), name
    if settings:
        for field in dataclasses.fields(wanted.settings):
            a, b = getattr(found.settings, field.name), getattr(wanted.settings, field.name)
            same_default = field.name in ("embed_features", "layer_features", "cmap_dim") and b is None
            no_labels = (
                field.name.startswith("mapping_") and not wanted.settings.c_dim and found.__class__ is Discriminator
            )
            assert a == b or same_default or no_labels or field.name in ("freeze_layers", "w_avg_beta"), (
                field.name,
                a,
                b,
            )


def load(path):
    networks = voice2style.load_networks(path)
    for network in (networks.G_ema, networks.G, networks.D):
        assert network is None or (not network.training and not any(p.requires_grad for p in network.parameters()))
    return networks


VARIANTS = {
    "plain": ({}, {}),
    "conditional": (
        {"c_dim": 3, "embed_features": 5, "layer_features": 7},
        {"c_dim": 3, "cmap_dim": 6, "mapping_layers": 2, "embed_features": 6},
    ),
    "resnet, skip D": ({"architecture": "resnet"}, {"architecture": "skip"}),
    "orig": ({"architecture": "orig"}, {"architecture": "orig"}),
    "grayscale": ({"img_channels": 1}, {"img_channels": 1}),
    "no noise": ({"use_noise": False}, {}),
    "relu": ({"activation": "relu", "mapping_activation": "relu"}, {"activation": "relu"}),
    "box filter": ({"resample_filter": (1, 1)}, {"resample_filter": (1, 1)}),
    "separable filter": ({"resample_filter": (1, 2, 3, 4, 4, 3, 2, 1)}, {}),
    "half and clamp": ({"num_fp16_res": 1, "conv_clamp": 256.0}, {"num_fp16_res": 1, "conv_clamp": 256.0}),
    "odd batch statistics": ({}, {"mbstd_group_size": None, "mbstd_num_channels": 2}),
    "no batch statistics": ({}, {"mbstd_num_channels": 0}),
    "no mapping layers": ({"mapping_layers": 0, "w_dim": 6}, {}),
    "one mapping layer": ({"mapping_layers": 1, "mapping_lr_multiplier": 0.1}, {}),
    "no mean code": ({"w_avg_beta": None}, {}),
    "not square": ({"const_shape": (4, 2)}, {"const_shape": (4, 2)}),
    "frozen": ({}, {"freeze_layers": 3}),
}


@pytest.mark.parametrize("repository", ["ada", "sg3"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_nvidia_snapshots(tmp_path, variant, repository):
    changes, changes_d = VARIANTS[variant]
    g, d = (
        generator(**changes, fp16_on_cpu=repository == "ada"),
        discriminator(**changes_d, fp16_on_cpu=repository == "ada"),
    )
    file = ff.write_pickle(tmp_path / "a.pkl", ff.nvidia_snapshot(g, d, repository=repository))
    networks = load(file)
    assert_same(networks.G_ema, g)
    assert_same(networks.G, g, factor=2, settings=False) if "filter" not in variant else None
    assert_same(networks.D, d)
    assert networks.source.kind == f"NVIDIA {repository} StyleGAN2"
    n = 2
    z, c = torch.randn(n, g.z_dim), torch.randn(n, g.c_dim) if g.c_dim else None
    image = networks.G_ema(z, c, noise_mode="const", force_fp32=True)
    assert torch.equal(image, g.eval()(z, c, noise_mode="const", force_fp32=True))
    assert networks.D(image, c).shape == (n, 1)


test_nvidia_snapshots = pytest.mark.filterwarnings("ignore::UserWarning")(test_nvidia_snapshots)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("options", [{}, {"numpy1": True}, {"cuda": True}], ids=["", "numpy 1", "cuda"])
def test_every_pickle_protocol(tmp_path, protocol, options):
    if protocol < 3 and "cuda" in options:
        pytest.skip("bytes are text in these protocols; the tag is covered by the others")
    g = generator(c_dim=2)
    file = ff.write_pickle(tmp_path / "a.pkl", {"G_ema": ff.nvidia_module(g)}, protocol=protocol, **options)
    networks = load(file)
    assert_same(networks.G_ema, g)
    assert networks.G is None and networks.D is None


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "form", ["snapshot", "bare module", "state dicts", "bare state dict", "studiogan", "module prefix"]
)
def test_torch_save_of_everything(tmp_path, form, zipped):
    g, d = generator(), discriminator()
    obj = {
        "snapshot": lambda: ff.nvidia_snapshot(g, d),
        "bare module": lambda: ff.nvidia_module(g),
        "state dicts": lambda: {"G": g.state_dict(), "D": d.state_dict(), "G_ema": g.state_dict(), "epoch": 3},
        "bare state dict": g.state_dict,
        "studiogan": lambda: {
            "state_dict": g.state_dict(),
            "optimizer": {"state": {}, "param_groups": []},
            "best_step": 5,
        },
        "module prefix": lambda: collections.OrderedDict((f"module.G_ema.{k}", v) for k, v in g.state_dict().items()),
    }[form]()
    networks = load(ff.write_torch(tmp_path / "a.pt", obj, zipped=zipped))
    assert_same(networks.G_ema, g)
    assert (networks.D is not None) == (form in ("snapshot", "state dicts"))
    if networks.D is not None:
        assert_same(networks.D, d)


@pytest.mark.parametrize("names", ["bare", "G_ema", "G"])
def test_plain_safetensors(tmp_path, names):
    from safetensors.torch import save_file

    g, d = generator(c_dim=2, embed_features=8), discriminator()
    prefix = "" if names == "bare" else names + "."
    tensors = {prefix + k: v.contiguous() for k, v in g.state_dict().items()}
    if prefix:
        tensors.update({f"D.{k}": v.contiguous() for k, v in d.state_dict().items()})
    save_file(tensors, tmp_path / "a.safetensors")
    networks = load(tmp_path / "a.safetensors")
    assert_same(networks.G_ema, g)
    assert (networks.G is networks.G_ema) == (names == "G")
    assert_same(networks.D, d) if prefix else None


def test_own_checkpoint(tmp_path):
    from dnnlib.settings import to_dict
    from torch_utils.checkpoint import save_checkpoint
    from voice2style.card import Card, Part

    g, d = generator(activation="relu", conv_clamp=7.0), discriminator(mbstd_group_size=2)
    card = Card(generator=Part("stylegan2", to_dict(g.settings)), discriminator=Part("stylegan2", to_dict(d.settings)))
    tensors = {f"G_ema.{k}": v for k, v in g.state_dict().items()} | {f"D.{k}": v for k, v in d.state_dict().items()}
    save_checkpoint(tmp_path / "a.safetensors", tensors, card.to_dict())
    networks = load(tmp_path / "a.safetensors")
    assert networks.G_ema.settings == g.settings and networks.D.settings == d.settings
    assert_same(networks.G_ema, g)
    assert_same(networks.D, d)
    assert networks.source.kind == "voice2style"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_it_is_said(tmp_path, dtype):
    g = generator()
    networks = load(
        ff.write_pickle(tmp_path / "a.pkl", {"G_ema": ff.nvidia_module(g, transform=lambda t: t.to(dtype))})
    )
    for name, tensor in networks.G_ema.state_dict().items():
        assert torch.equal(tensor, g.state_dict()[name].to(dtype).float())
    assert any("converted to float32" in note for note in networks.source.notes)


def test_views_and_strides(tmp_path):
    g = generator()
    pool = torch.cat([t.reshape(-1) for t in g.state_dict().values()] + [torch.zeros(5)])
    starts = iter(torch.tensor([0] + [t.numel() for t in g.state_dict().values()]).cumsum(0).tolist())
    views = collections.OrderedDict(
        (k, pool[s : s + t.numel()].view(t.shape)) for (k, t), s in zip(g.state_dict().items(), starts)
    )
    assert_same(load(ff.write_torch(tmp_path / "a.pt", views)).G_ema, g)
    assert_same(load(ff.write_torch(tmp_path / "b.pt", views, zipped=False)).G_ema, g)
    assert_same(load(ff.write_pickle(tmp_path / "c.pkl", views)).G_ema, g)

    def channels_last(t):
        return t.to(memory_format=torch.channels_last) if t.ndim == 4 else t.t().contiguous().t() if t.ndim == 2 else t

    assert_same(
        load(ff.write_pickle(tmp_path / "d.pkl", {"G_ema": ff.nvidia_module(g, transform=channels_last)})).G_ema, g
    )


def test_forks_with_extra_keys_attributes_and_buffers(tmp_path):
    g = generator()
    module = ff.nvidia_module(g, extra={"epochs": 3, "square": True, "helper": ff.Call("functools", "partial", 1)})
    module.args[0]["state"]["_buffers"]["steps"] = torch.zeros(3, dtype=torch.int64)
    snapshot = {
        "G_ema": module,
        "progress": {"cur_nimg": torch.tensor(5), "best": 1.5},
        "settings": ff.Call("argparse", "Namespace", state={"a": 1}),
    }
    networks = load(ff.write_pickle(tmp_path / "a.pkl", snapshot))
    assert_same(networks.G_ema, g)
    assert "steps" in str(networks.source) and "functools.partial" in str(networks.source)


def test_a_learned_tensor_inside_the_layers_is_another_architecture(tmp_path):
    state = generator().state_dict()
    state["synthesis.b8.attention.weight"] = torch.zeros(3)
    with pytest.raises(ValueError, match="synthesis.b8.attention.weight"):
        load(ff.write_torch(tmp_path / "a.pt", state))


def test_noise_in_some_layers_only_is_refused_and_never_dropped(tmp_path):
    g = ff.small_generator()
    some = {name: t for name, t in g.state_dict().items() if not (".b4." in name and ".noise_" in name)}
    module, tf = ff.nvidia_module(g), ff.tf_generator(g)
    state = module.args[0]["state"]
    for child in ("synthesis", "b8", "conv1"):
        state = state["_modules"][child].args[0]["state"]
    state["use_noise"] = False
    synthesis = tf.state["components"]["synthesis"].state
    synthesis["variables"] = [pair for pair in synthesis["variables"] if pair[0] != "4x4/Conv/noise_strength"]
    for obj, told in ((some, "some of its layers have noise"), (module, "its layers differ in the use of noise"),
                      ((tf, None, tf), "some of its layers have noise")):
        with pytest.raises(ValueError, match=told):
            voice2style.load_networks(ff.write_pickle(tmp_path / "a.pkl", obj))


def test_a_foreign_discriminator_is_left_out(tmp_path):
    g = generator()
    foreign = ff.Call(
        "pg_modules.discriminator",
        "ProjectedDiscriminator",
        new=True,
        state={
            "_modules": {
                "net": ff.Call(
                    "timm.models.efficientnet",
                    "EfficientNet",
                    new=True,
                    state={"_parameters": {"w": torch.ones(3)}, "_modules": {}},
                )
            },
            "_parameters": {},
        },
    )
    networks = load(
        ff.write_pickle(tmp_path / "a.pkl", {"G": ff.nvidia_module(g), "D": foreign, "G_ema": ff.nvidia_module(g)})
    )
    assert_same(networks.G_ema, g)
    assert networks.D is None and "ProjectedDiscriminator" in str(networks.source)


# ---- TensorFlow ----


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_tensorflow(tmp_path, version, protocol):
    labels = version == 5
    g = generator(w_avg_beta=0.995, **({"c_dim": 3, "embed_features": 8} if labels else {}))
    d = discriminator(
        mbstd_group_size=4 if version == 4 else None,
        mapping_layers=0,
        mapping_lr_multiplier=0.1,
        **({"c_dim": 3, "cmap_dim": 12, "embed_features": 12} if labels else {}),
    )
    nets = (
        ff.tf_generator(g, version=version, name="G"),
        ff.tf_discriminator(d, version=version),
        ff.tf_generator(g, version=version),
    )
    networks = load(ff.write_pickle(tmp_path / "a.pkl", nets, protocol=protocol, numpy1=protocol < 4))
    found, wanted = networks.G_ema.state_dict(), g.state_dict()
    for name in wanted:  # the modulation's bias is stored as (b - 1), which rounds
        assert (
            torch.allclose(found[name], wanted[name], atol=1e-6)
            if "affine.bias" in name
            else torch.equal(found[name], wanted[name])
        )
    assert_same(networks.D, d)
    assert networks.source.version == str(version)


@pytest.mark.parametrize("architecture", ["orig", "resnet", "skip"])
def test_tensorflow_configurations(tmp_path, architecture):
    lods = architecture == "orig"
    g, d = (
        generator(architecture=architecture, resample_filter=(1, 1)),
        discriminator(architecture=architecture, resample_filter=(1, 1)),
    )
    kwargs = {"resample_kernel": None, "num_channels": 3, "resolution": 16, "fmap_base": 64}
    nets = (
        ff.tf_generator(g, lods=lods, **kwargs),
        ff.tf_discriminator(d, lods=lods, **kwargs),
        ff.tf_generator(g, lods=lods, **kwargs),
    )
    networks = load(ff.write_pickle(tmp_path / "a.pkl", nets))
    assert networks.G_ema.settings.architecture == architecture == networks.D.settings.architecture
    for name, tensor in g.state_dict().items():
        assert torch.allclose(networks.G_ema.state_dict()[name], tensor, atol=1e-6), name
    assert_same(networks.D, d)


def test_tensorflow_refusals(tmp_path):
    g = generator()
    old = ff.tf_network("G", 3, {}, {"x": torch.ones(2).numpy()})
    with pytest.raises(ValueError, match="StyleGAN1.*version 3"):
        load(ff.write_pickle(tmp_path / "a.pkl", (old, old, old)))
    labels = ff.tf_generator(g)
    labels.state["variables"].append(("mapping/LabelConcat/weight", torch.ones(2, 6).numpy()))
    with pytest.raises(ValueError, match="LabelConcat"):
        load(ff.write_pickle(tmp_path / "b.pkl", (labels, labels, labels)))
    growing = ff.tf_generator(generator(architecture="orig"), lods=True)
    growing.state["components"]["synthesis"].state["variables"].append(("lod", __import__("numpy").float32(1.5)))
    with pytest.raises(ValueError, match="lod > 0"):
        load(ff.write_pickle(tmp_path / "c.pkl", (growing, growing, growing)))


# ---- rosinality, e4e, pSp ----


def square(**changes):
    return generator(**{"z_dim": 8, "w_dim": 8, "scaled_demodulation": True, **changes})


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("form", ["training", "converted", "only g", "bare"])
def test_rosinality(tmp_path, form, zipped):
    g, d = square(), discriminator()
    ro, avg = ff.rosinality_generator(g), g.state_dict()["mapping.w_avg"]
    arguments = ff.Call("argparse", "Namespace", new=True, state={"size": 16, "latent": 8, "arch": "stylegan2"})
    obj = {
        "training": {
            "g": ro,
            "d": ff.rosinality_discriminator(d),
            "g_ema": ro,
            "g_optim": {"state": {0: {"step": 1, "exp_avg": torch.zeros(9)}}, "param_groups": []},
            "args": arguments,
            "ada_aug_p": 0.5,
        },
        "converted": {"g_ema": ro, "latent_avg": avg},
        "only g": {"g": ro, "g_optim": {}},
        "bare": ro,
    }[form]
    networks = load(ff.write_torch(tmp_path / "a.pt", obj, zipped=zipped))
    for name, tensor in g.state_dict().items():
        assert name == "mapping.w_avg" or torch.equal(networks.G_ema.state_dict()[name], tensor), name
    mean = networks.G_ema.state_dict()["mapping.w_avg"]
    if form == "converted":
        assert torch.equal(mean, avg)
    else:
        assert "estimated" in str(networks.source)
        z = torch.randn(20000, 8)
        assert (networks.G_ema.mapping(z)[:, 0].mean(0) - mean).abs().max() < 0.1
    if form == "training":
        assert_same(networks.D, d)


def test_rosinality_without_noises_draws_them_from_a_fixed_seed_and_says_so(tmp_path):
    ro = {k: v for k, v in ff.rosinality_generator(square()).items() if not k.startswith("noises")}
    file = ff.write_torch(tmp_path / "a.pt", {"g_ema": ro})
    first, second = load(file), load(file)
    assert "seed 0" in str(first.source) and "noise_const" in str(first.source)
    for name, tensor in first.G_ema.state_dict().items():
        assert torch.equal(tensor, second.G_ema.state_dict()[name])
    noise = first.G_ema.synthesis.b16.conv1.noise_const
    assert 0.8 < float(noise.std()) < 1.2


@pytest.mark.parametrize("kind", ["Encoder4Editing", "GradualStyleEncoder"])
@pytest.mark.parametrize("rows", [None, 1, 6])
def test_encoder_files(tmp_path, kind, rows):
    g = square()
    avg = g.state_dict()["mapping.w_avg"]
    state = collections.OrderedDict(
        {
            "encoder.input_layer.0.weight": torch.ones(2, 3),
            "encoder.body.0.res_layer.0.num_batches_tracked": torch.tensor(3),
        }
    )
    state.update({f"decoder.{k}": v for k, v in ff.rosinality_generator(g).items()})
    latent = avg if rows is None else avg.repeat(rows, 1)
    file = ff.write_torch(
        tmp_path / "a.pt",
        {"state_dict": state, "latent_avg": latent, "opts": {"encoder_type": kind, "stylegan_size": 16}},
    )
    networks = load(file)
    assert_same(networks.G_ema, g)
    assert networks.source.kind.startswith({"Encoder4Editing": "e4e", "GradualStyleEncoder": "pSp"}[kind])


def test_from_url_and_checksum(tmp_path):
    g = generator()
    file = ff.write_torch(tmp_path / "a.pt", g.state_dict())
    assert_same(load(f"file://{file}").G_ema, g)
    with pytest.raises(ValueError):
        voice2style.load_networks(file, sha256="0" * 64)
