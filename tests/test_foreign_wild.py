"""Files in the wild that differ a little from the published ones: what they are read as, or refused by name."""

import collections
import os

import foreign_files as ff
import pytest
import torch
from test_foreign_kinds import discriminator, generator, square

import voice2style
from dnnlib.settings import to_dict
from torch_utils.checkpoint import save_checkpoint
from voice2style.foreign import torch_files
from voice2style.foreign.inert import Storage
from voice2style.foreign.windows import Allowance, memory_blob
from voice2style.sizes import num_values


def same(found, wanted):
    return all(torch.equal(found.state_dict()[name], tensor) for name, tensor in wanted.state_dict().items())


@pytest.mark.parametrize("names", ["d", "bare"])
def test_a_rosinality_discriminator_by_itself(tmp_path, names):
    d = discriminator()
    state = ff.rosinality_discriminator(d)
    networks = voice2style.load_networks(ff.write_torch(tmp_path / "d.pt", {"d": state} if names == "d" else state))
    assert networks.G_ema is None and networks.G is None and same(networks.D, d)


def test_single_numbers_stored_as_vectors(tmp_path):
    g = generator()
    state = {name: t.reshape(1) if t.ndim == 0 else t for name, t in g.state_dict().items()}
    networks = voice2style.load_networks(ff.write_torch(tmp_path / "g.pt", state))
    assert same(networks.G_ema, g)
    assert networks.G_ema.synthesis.b8.conv0.noise_strength.shape == ()


def _persistent(class_name, **state):
    return ff.persistent(class_name, {"_parameters": {}, "_buffers": {}, "_modules": {}, **state})


def test_stylegan_xl_is_told_from_stylegan3_by_a_mean_code_per_class(tmp_path):
    layer = _persistent("SynthesisLayer", _parameters={"weight": torch.ones(2, 2)})
    for rows, name in ((10, "StyleGAN-XL"), (None, "StyleGAN3")):
        mean = torch.ones(8) if rows is None else torch.ones(rows, 8)
        g = _persistent("Generator", _modules={
            "synthesis": _persistent("SynthesisNetwork", _modules={"L0_36_512": layer}),
            "mapping": _persistent("MappingNetwork", _buffers={"w_avg": mean})})
        with pytest.raises(ValueError, match=f"seems to be {name}"):
            voice2style.load_networks(ff.write_pickle(tmp_path / "g.pkl", {"G_ema": g}))


@pytest.mark.parametrize(("name", "kind"), [
    ("g_mapping.dense0.weight", "StyleGAN1"),
    ("mapping.dense0.weight", "genforce"),
    ("generator_smooth.synthesis.layer0.weight", "genforce"),
])
def test_dense_mappings_belong_to_two_programs(tmp_path, name, kind):
    with pytest.raises(ValueError, match=f"seems to be (a )?{kind}"):
        voice2style.load_networks(ff.write_torch(tmp_path / "g.pt", {name: torch.ones(2, 2)}))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no ordinary file"):
        voice2style.load_networks(tmp_path / "pipe")


def test_mean_codes_are_estimated_for_labels_in_turn(tmp_path):
    g = generator(c_dim=3, embed_features=8, z_dim=64, w_dim=16, layer_features=32)
    state = collections.OrderedDict((n, t) for n, t in g.state_dict().items() if n != "mapping.w_avg")
    found = voice2style.load_networks(ff.write_torch(tmp_path / "g.pt", state)).G_ema
    c = torch.eye(3).repeat(4000, 1)
    codes = g.mapping(torch.randn(len(c), 64), c)[:, 0]
    assert ((found.mapping.w_avg - codes.mean(0)).abs() < 0.15 * codes.std(0)).all()


# ---- the short way for nested storages ----


def _machine_only(data, allowance):
    """The storage as the pickle machine reads it, without the short way."""
    short, torch_files._usual_storage = torch_files._usual_storage, lambda head, known: None
    try:
        return torch_files.nested_storage(memory_blob(data), allowance)
    finally:
        torch_files._usual_storage = short


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.uint8])
@pytest.mark.parametrize("numel", [0, 1, 255, 256, 65535, 65536])
def test_the_short_way_reads_what_the_machine_reads(dtype, numel):
    data, allowance = ff.nested_stream(torch.zeros(numel, dtype=dtype)), Allowance(1 << 20)
    slow = _machine_only(data, allowance)
    assert torch_files._usual_storage(data[:4096], allowance.checked_stream_head) is not None
    fast = torch_files.nested_storage(memory_blob(data), allowance)
    fields = [name for name in Storage.__slots__ if name != "blob"]
    assert [getattr(fast, f) for f in fields] == [getattr(slow, f) for f in fields]
    assert (slow.dtype, slow.numel) == (dtype, numel)


def test_the_short_way_leaves_everything_unusual_to_the_machine():
    data, allowance = ff.nested_stream(torch.zeros(9)), Allowance(1 << 20)
    _machine_only(data, allowance)
    known = allowance.checked_stream_head
    for old, new in [(b"storageq", b"storeageq"), (b"cpuq\x03K\x09", b"cpuq\x03K\x09N"),
                     (b"X\x03\0\0\0cpu", b"X\x02\0\0\0cpu"),
                     (b"ctorch\n", b"cos\n"), (b"q\x01a.", b"q\x01aa.")]:
        assert old in data
        assert torch_files._usual_storage(data.replace(old, new), known) is None


def test_a_square_network_is_still_recognised_with_both(tmp_path):
    g, d = square(), discriminator()
    file = ff.write_torch(tmp_path / "a.pt", {"g_ema": ff.rosinality_generator(g), "d": ff.rosinality_discriminator(d)})
    networks = voice2style.load_networks(file)
    assert networks.G_ema is not None and same(networks.D, d)


# ---- sizes ----


@pytest.mark.parametrize("wishes", [
    {"img_channels": -1}, {"img_channels": 1 << 40}, {"w_dim": 0}, {"c_dim": 2, "embed_features": 0}, {"z_dim": -4},
    {"z_dim": 0}, {"resample_filter": ()}, {"mapping_layers": -1}, {"mapping_layers": 1000},
    {"channels": (1 << 20, 1 << 20)}, {"const_shape": (1 << 20, 1 << 20)}])
@pytest.mark.parametrize("opener", [voice2style.load_networks, voice2style.load])
def test_cards_of_impossible_networks_are_refused_before_anything_is_built(tmp_path, wishes, opener):
    g = ff.small_generator()
    card = {"format": "voice2style/1", "generator": {"kind": "stylegan2", "options": to_dict(g.settings) | wishes}}
    save_checkpoint(tmp_path / "a.safetensors", {f"G_ema.{n}": t for n, t in g.state_dict().items()}, card)
    with pytest.raises(ValueError, match="would"):
        opener(tmp_path / "a.safetensors")


@pytest.mark.parametrize("changes", [
    {}, {"c_dim": 5}, {"architecture": "resnet"}, {"architecture": "orig", "use_noise": False},
    {"mapping_layers": 0, "z_dim": 8}, {"mapping_layers": 1}, {"const_shape": (4, 2)}])
def test_the_size_is_never_more_than_the_networks(changes):
    g = generator(**changes)
    most = sum(t.numel() for t in g.state_dict().values())
    assert 0.7 * most < num_values(g.settings) <= most
    if not {"mapping_layers", "use_noise"} & changes.keys():
        d = discriminator(**changes)
        most = sum(t.numel() for t in d.state_dict().values())
        assert 0.7 * most < num_values(d.settings) <= most
