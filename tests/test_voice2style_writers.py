"""The laws of conversion: what goes out comes back bit for bit, and what a form has no place for is said."""

import dataclasses
import pathlib

import pytest
import torch
from conftest import build_tiny_model

import voice2style
from dnnlib.settings import to_dict
from torch_utils.checkpoint import load_checkpoint, read_card, save_checkpoint
from voice2style import writers
from voice2style.card import Card, Part
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.generators import Generator, GeneratorSettings
from voice2style.writers import convert, rosinality

SMALL = {"img_resolution": 16, "channels": (8, 6, 4), "z_dim": 16, "w_dim": 16, "mapping_layers": 2}


def save_networks(path, *, roles=("G_ema", "G", "D"), d_wishes=None, **wishes):
    """Writes a checkpoint of random networks whose every tensor (noise, mean code, strengths) is its own."""
    settings = GeneratorSettings(**{**SMALL, **wishes})
    d_settings = DiscriminatorSettings(img_resolution=settings.img_resolution, channels=settings.channels,
                                       **(d_wishes or {}))
    tensors = {}
    torch.manual_seed(0)
    for role in roles:
        network = Discriminator(d_settings) if role == "D" else Generator(settings)
        for name, tensor in network.state_dict().items():
            if not name.endswith("resample_filter"):
                tensor.normal_()
            tensors[f"{role}.{name}"] = tensor
    if {"G.mapping.w_avg", "G_ema.mapping.w_avg"} <= tensors.keys():  # as training keeps them
        tensors["G.mapping.w_avg"] = tensors["G_ema.mapping.w_avg"].clone()
    card = Card(generator=Part("stylegan2", to_dict(settings)), discriminator=Part("stylegan2", to_dict(d_settings)),
                source={"made_by": "a test"}, licence="CC0-1.0")
    save_checkpoint(path, tensors, card.to_dict())
    return tensors


def assert_same(tensors, wanted):
    assert tensors.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("form, name", [("rosinality", "a.pt"), ("plain", "a.safetensors"),
                                        ("voice2style", "a.safetensors")])
def test_there_and_back_is_bit_exact(tmp_path, form, name):
    wanted = save_networks(tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / name, form=form)
    convert(tmp_path / name, tmp_path / "back.safetensors")
    assert_same(load_checkpoint(tmp_path / "back.safetensors")[0], wanted)


@pytest.mark.parametrize("form, name", [("rosinality", "a.pt"), ("plain", "a.safetensors")])
def test_written_files_give_the_same_pictures_and_logits(tmp_path, form, name):
    save_networks(tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / name, form=form)
    ours, theirs = (voice2style.load_networks(path) for path in (tmp_path / "ours.safetensors", tmp_path / name))
    z = torch.randn(3, 16)
    images = ours.G_ema(z, truncation_psi=0.6, noise_mode="const")
    far = 1e-5 if form == "rosinality" else 0  # that program's epsilon in the demodulation weighs more
    assert torch.allclose(theirs.G_ema(z, truncation_psi=0.6, noise_mode="const"), images, rtol=0, atol=far)
    assert torch.allclose(theirs.G(z, noise_mode="const"), ours.G(z, noise_mode="const"), rtol=0, atol=far)
    assert torch.equal(theirs.D(images), ours.D(images))


def test_rosinality_files_are_plain_dictionaries_of_their_published_names(tmp_path):
    """Names, shapes and the factor 4 of the up-sampling kernels as rosinality's own Generator and Discriminator."""
    ours = save_networks(tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "theirs.pt")
    contents = torch.load(tmp_path / "theirs.pt", weights_only=True)
    assert set(contents) == {"g_ema", "g", "d", "latent_avg"} and contents["latent_avg"].shape == (16,)
    g, d = contents["g_ema"], contents["d"]
    layer = {"conv.weight", "conv.modulation.weight", "conv.modulation.bias", "noise.weight", "activate.bias"}
    rgb = {"conv.weight", "conv.modulation.weight", "conv.modulation.bias", "bias"}
    names = {f"style.{i}.{part}" for i in (1, 2) for part in ("weight", "bias")} | {"input.input"}
    names |= {f"{path}.{part}" for path in ("conv1", "convs.0", "convs.1", "convs.2", "convs.3") for part in layer}
    names |= {f"{path}.{part}" for path in ("to_rgb1", "to_rgbs.0", "to_rgbs.1") for part in rgb}
    names |= {f"noises.noise_{n}" for n in range(5)} | {"convs.0.conv.blur.kernel", "convs.2.conv.blur.kernel"}
    assert set(g) == names | {"to_rgbs.0.upsample.kernel", "to_rgbs.1.upsample.kernel"}
    assert g["input.input"].shape == (1, 8, 4, 4) and g["conv1.conv.weight"].shape == (1, 8, 8, 3, 3)
    assert g["to_rgb1.conv.weight"].shape == (1, 3, 8, 1, 1) and g["to_rgbs.1.bias"].shape == (1, 3, 1, 1)
    assert g["convs.3.noise.weight"].shape == (1,) and g["noises.noise_4"].shape == (1, 1, 16, 16)
    assert g["convs.0.conv.blur.kernel"].sum() == 4 and d["convs.1.conv2.0.kernel"].sum() == 1
    assert torch.equal(g["convs.2.conv.weight"][0], ours["G_ema.synthesis.b16.conv0.weight"])
    assert torch.equal(d["convs.2.conv2.1.weight"], ours["D.b8.conv1.weight"])
    assert {"convs.0.0.weight", "final_conv.0.weight", "final_linear.1.bias", "convs.2.skip.1.weight"} <= set(d)


@pytest.mark.parametrize("wishes, reason", [
    ({"architecture": "orig"}, 'architecture is "orig"'), ({"c_dim": 3}, "conditional"),
    ({"img_channels": 1}, "1 channels"),
    ({"activation": "relu"}, "activation is relu"), ({"z_dim": 8}, "one size for"),
    ({"mapping_lr_multiplier": 0.1}, "has 0.01"), ({"const_shape": (4, 2)}, "start at 4x2"),
    ({"resample_filter": (1, 1)}, "2 taps"), ({"layer_features": 24}, "one size for all")])
def test_rosinality_refuses_what_it_cannot_build(tmp_path, wishes, reason):
    save_networks(tmp_path / "ours.safetensors", roles=("G_ema",), **wishes)
    with pytest.raises(ValueError, match=reason):
        convert(tmp_path / "ours.safetensors", tmp_path / "out" / "theirs.pt")
    assert not list((tmp_path / "out").iterdir())


def test_rosinality_gets_silent_noise_for_networks_without_noise_inputs(tmp_path):
    wanted = save_networks(tmp_path / "ours.safetensors", use_noise=False)
    done = convert(tmp_path / "ours.safetensors", tmp_path / "theirs.pt")
    assert any("strength zero" in note for note in done.notes)
    g = torch.load(tmp_path / "theirs.pt", weights_only=True)["g_ema"]
    assert g["noises.noise_4"].shape == (1, 1, 16, 16) and not g["convs.3.noise.weight"].any()
    ours, theirs = (voice2style.load_networks(path) for path in (tmp_path / "ours.safetensors", tmp_path / "theirs.pt"))
    z = torch.randn(2, 16)
    for mode in ("const", "random", "none"):
        assert torch.allclose(theirs.G_ema(z, noise_mode=mode), ours.G_ema(z, noise_mode="none"), rtol=0, atol=1e-5)
    tensors = theirs.G_ema.state_dict()
    assert all(torch.equal(tensors[name[6:]], wanted[name]) for name in wanted if name.startswith("G_ema."))


def test_a_discriminator_without_a_place_is_left_out_aloud(tmp_path):
    save_networks(tmp_path / "ours.safetensors", d_wishes={"architecture": "skip"})
    done = convert(tmp_path / "ours.safetensors", tmp_path / "theirs.pt")
    assert any("D is left out" in note and '"skip"' in note for note in done.notes)
    assert "d" not in torch.load(tmp_path / "theirs.pt", weights_only=True)


@pytest.mark.parametrize("form, name", [("plain", "a.safetensors"), ("voice2style", "a.safetensors"),
                                        ("rosinality", "a.pt")])
def test_an_identity_classifier_travels_or_is_left_out_aloud(tmp_path, form, name):
    wanted = save_networks(tmp_path / "ours.safetensors", d_wishes={"num_people": 3})
    notes = convert(tmp_path / "ours.safetensors", tmp_path / name, form=form).notes
    ours, theirs = (voice2style.load_networks(path).D for path in (tmp_path / "ours.safetensors", tmp_path / name))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(theirs(images), ours(images)) and "D.classifier.out.weight" in wanted
    if form == "rosinality":
        assert any("the identity classifier of D is left out" in note for note in notes)
    else:
        assert torch.equal(theirs.judge(images)[1], ours.judge(images)[1])


def test_clamps_that_a_form_cannot_tell_are_named_and_measured(tmp_path):
    save_networks(tmp_path / "ours.safetensors", conv_clamp=0.5, num_fp16_res=2)
    for name in ("a.pt", "plain.safetensors"):
        notes = convert(tmp_path / "ours.safetensors", tmp_path / name, form="plain" if "plain" in name else None).notes
        assert any("conv_clamp 0.5" in note and "num_fp16_res 2" in note and "differ by" in note for note in notes)
    assert not convert(tmp_path / "ours.safetensors", tmp_path / "b.safetensors").notes


def test_widths_of_the_published_table_are_named(tmp_path):
    table = GeneratorSettings(img_resolution=64, channels=(512, 512, 512, 512, 256))
    assert "channel_multiplier=1" in rosinality._how_to_load(table)
    assert "channel_multiplier=2" in rosinality._how_to_load(dataclasses.replace(table, channels=(512,) * 5))
    assert "change its table" in rosinality._how_to_load(dataclasses.replace(table, channels=(64,) * 5))


def test_our_form_keeps_card_encoder_and_licence(tmp_path, tiny_voice_model):
    convert(tiny_voice_model, tmp_path / "again.safetensors")
    assert read_card(tmp_path / "again.safetensors") == read_card(tiny_voice_model)
    assert_same(load_checkpoint(tmp_path / "again.safetensors")[0], load_checkpoint(tiny_voice_model)[0])
    wave = torch.randn(16000, generator=torch.Generator().manual_seed(1)) * 0.1
    again, first = (voice2style.load(path, device="cpu") for path in (tmp_path / "again.safetensors", tiny_voice_model))
    assert torch.equal(again.codes(wave), first.codes(wave))


@pytest.mark.parametrize("form, name", [("plain", "a.safetensors"), ("rosinality", "a.pt")])
def test_other_forms_say_that_the_encoder_is_left_out(tmp_path, tiny_voice_model, form, name):
    done = convert(tiny_voice_model, tmp_path / name, form=form)
    assert any("encoder" in note and "left out" in note for note in done.notes)
    assert voice2style.load_networks(tmp_path / name).G_ema.img_resolution == 16


def test_a_strangers_file_gets_a_card_that_tells_where_it_is_from(tmp_path):
    save_networks(tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", tmp_path / "back.safetensors")
    card = read_card(tmp_path / "back.safetensors")
    assert card["source"]["kind"] == "rosinality" and card["source"]["file"] == "theirs.pt"
    assert len(card["source"]["sha256"]) == 64 and "original weights" in card["licence"]


def test_a_file_without_a_running_average_is_written_as_g_ema(tmp_path):
    save_networks(tmp_path / "g.safetensors", roles=("G",))
    done = convert(tmp_path / "g.safetensors", tmp_path / "out.safetensors")
    assert any("no G_ema" in note for note in done.notes)
    assert voice2style.load(tmp_path / "out.safetensors", device="cpu").num_ws == 6


def test_a_result_that_does_not_hold_the_original_is_not_kept(tmp_path, monkeypatch):
    """A writer with a fault: the proof finds it, and neither the file nor a temporary one stays."""
    save_networks(tmp_path / "ours.safetensors")
    honest = rosinality.generator_names

    def faulty(tensors, settings):
        named = honest(tensors, settings)
        named["conv1.conv.weight"][0, 0, 0, 0, 0] += 1e-6
        return named

    monkeypatch.setattr(rosinality, "generator_names", faulty)
    with pytest.raises(ValueError, match=r"does not hold G\w*\.synthesis\.b4\.conv1\.weight"):
        convert(tmp_path / "ours.safetensors", tmp_path / "out" / "theirs.pt")
    assert not list((tmp_path / "out").iterdir())


def test_names_and_formats_are_checked_before_anything_is_read(tmp_path):
    missing = tmp_path / "missing.pkl"
    with pytest.raises(ValueError, match=r'ends in "\.pkl", from which no form follows'):
        convert(missing, tmp_path / "a.pkl")
    with pytest.raises(ValueError, match=r'"rosinality" is written to a file that ends in \.pt'):
        convert(missing, tmp_path / "a.safetensors", form="rosinality")
    with pytest.raises(ValueError, match="is a folder"):
        (tmp_path / "a.pt").mkdir()
        convert(missing, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no such file"):
        convert(missing, tmp_path / "b.pt")


def test_without_the_extra_onnx_one_line_says_what_to_install(tmp_path, monkeypatch):
    find = writers.importlib.util.find_spec
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: None if "onnx" in name else find(name))
    with pytest.raises(ValueError, match=r"needs onnx, onnxruntime, onnxscript, which are not installed: "
                                         r"pip install 'voice2style\[onnx\]'"):
        convert(tmp_path / "any.pt", tmp_path / "a.onnx")


def test_an_onnx_graph_that_deviates_is_refused(tmp_path):
    """`check` against a module that computes something else, with a graph made by hand."""
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from voice2style.writers import onnx_graphs

    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "negation",
                                   [value("x", 1, ["N", 3])], [value("y", 1, ["N", 3])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "negation.onnx")
    x = torch.randn(2, 3)
    assert onnx_graphs.check(torch.neg, tmp_path / "negation.onnx", [x]) == 0
    with pytest.raises(ValueError, match="deviates from torch by"):
        onnx_graphs.check(lambda x: -x + 0.01, tmp_path / "negation.onnx", [x])


@pytest.mark.slow
def test_onnx_graphs_of_a_voice_model_compute_what_torch_does(tmp_path):
    """Both graphs in other batches and lengths than the writer itself tried, up to the picture of a voice."""
    pytest.importorskip("onnxscript")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = build_tiny_model()
    model.save(tmp_path / "voice.safetensors")
    done = convert(tmp_path / "voice.safetensors", tmp_path / "voice.onnx")
    assert [path.name for path in done.paths] == ["voice.onnx", "voice-encoder.onnx"]
    assert sum("agree to" in note for note in done.notes) == 2
    graph = onnx.load(tmp_path / "voice.onnx").graph
    convolutions = [node for node in graph.node if node.op_type == "Conv" and len(node.attribute)]
    groups = [attribute.i for node in convolutions for attribute in node.attribute if attribute.name == "group"]
    assert max(groups, default=1) <= 8  # filters run channel by channel; nothing has a group for every sample
    encoder, synthesis = (runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                          for path in (tmp_path / "voice-encoder.onnx", tmp_path / "voice.onnx"))
    waves = torch.randn(4, 20000, generator=torch.Generator().manual_seed(2)) * 0.1
    with torch.no_grad():
        features, wanted = model.frontend(waves), model.synthesis(model.codes(waves))
    (ws,) = encoder.run(None, {"features": features.numpy()})
    (image,) = synthesis.run(None, {"ws": ws})
    assert (torch.from_numpy(image) - wanted).abs().max() < 1e-4


def test_every_form_is_a_row_with_its_own_module():
    for name, row in writers.WRITERS.items():
        module = pathlib.Path(writers.__file__).parent / f"{row.module.rpartition('.')[2]}.py"
        assert module.is_file() and row.suffix.startswith("."), name
