"""What every encoder must keep: shapes, independence of batch and padding, gradients, repeatability."""

import pytest
import torch

from dnnlib.settings import from_dict, to_dict
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from voice2style.encoders import ENCODERS

# small settings for each row, as many as show its options; a new encoder adds its own line
CASES = {
    "se_resnet": [
        {"num_ws": 6, "w_dim": 8, "rows": 40, "base_width": 4, "embed_dim": 16},
        {"num_ws": 6, "w_dim": 8, "rows": 40, "base_width": 4, "embed_dim": 16, "use_se": False, "activation": "relu"},
        {"num_ws": 4, "w_dim": 12, "planes": 1, "rows": 64, "base_width": 4, "embed_dim": 16},
        {"num_ws": 4, "w_dim": 12, "planes": 2, "rows": 33, "base_width": 4, "embed_dim": 16, "input_norm": False},
    ],
}
EVERY = [(kind, options) for kind in ENCODERS for options in CASES[kind]]
every = pytest.mark.parametrize("kind, options", EVERY, ids=[f"{kind}-{at}" for at, (kind, _) in enumerate(EVERY)])


def build(kind, options, seed=0):
    """An encoder whose offsets are not 0 and whose batch statistics were met."""
    settings_of, encoder_of = ENCODERS[kind]
    stream = torch.Generator().manual_seed(seed)
    encoder = encoder_of(settings_of(**options), generator=stream)
    with torch.no_grad():
        for name, tensor in encoder.state_dict().items():
            if name.startswith("head.") or name.endswith("running_mean"):
                tensor.normal_(std=0.3, generator=stream)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=stream)
    return encoder.eval()


def features(encoder, num_clips=3, num_frames=50, seed=0):
    num_rows = encoder.settings.planes * encoder.settings.rows
    return torch.randn(num_clips, num_rows, num_frames, generator=torch.Generator().manual_seed(seed))


@every
@pytest.mark.parametrize("num_frames", [1, 2, 31, 32, 33, 100])
def test_shapes(kind, options, num_frames):
    encoder = build(kind, options)
    x = features(encoder, 2, num_frames)
    assert encoder(x).shape == (2, options["num_ws"], options["w_dim"])
    assert encoder.embed(x).shape == (2, options["embed_dim"])
    assert torch.isfinite(encoder(x)).all()


@every
def test_an_untrained_encoder_answers_the_mean_face(kind, options):
    settings_of, encoder_of = ENCODERS[kind]
    encoder = encoder_of(settings_of(**options))
    for mode in (encoder.train(), encoder.eval()):
        assert not mode(features(encoder)).any()
        assert mode.embed(features(encoder)).std() > 0


@every
def test_a_clip_gives_the_same_alone_and_beside_others(kind, options):
    encoder = build(kind, options)
    lengths = torch.tensor([70, 1, 2, 33, 17, 69])
    x = features(encoder, 6, 70)
    padded = x.masked_fill((torch.arange(70) >= lengths[:, None])[:, None], float("nan"))  # padding may hold anything
    together = encoder(padded, lengths)
    for clip, length, got in zip(x, lengths, together):
        alone = encoder(clip[None, :, :length])[0]
        assert (got - alone).abs().max() <= 1e-5 * max(1.0, alone.abs().max().item())


@every
def test_full_lengths_are_no_lengths(kind, options):
    encoder = build(kind, options)
    x = features(encoder)
    assert torch.equal(encoder(x, torch.tensor([50, 50, 50])), encoder(x))


@every
def test_training_statistics_do_not_see_the_padding(kind, options):
    x = features(build(kind, options), 4, 40)
    outcome = []
    for padding in (0, 30):
        encoder = build(kind, options).train()
        padded = torch.cat([x, 100 * torch.ones(4, x.shape[1], padding)], dim=2)
        lengths = torch.tensor([40, 12, 25, 40]) if padding == 0 else torch.tensor([40, 12, 25, 40])
        y = encoder(padded, lengths)
        (y * torch.linspace(0, 1, y.numel()).view_as(y)).sum().backward()
        outcome.append((y.detach(), encoder.state_dict(), [p.grad for p in encoder.parameters()]))
    (y0, state0, grads0), (y1, state1, grads1) = outcome
    assert torch.allclose(y0, y1, atol=1e-4)
    for name in state0:
        assert torch.allclose(state0[name].float(), state1[name].float(), atol=1e-4, rtol=1e-4), name
    for g0, g1 in zip(grads0, grads1):
        assert (g0 - g1).abs().max() <= 1e-3 * max(1.0, g0.abs().max().item())


@every
@pytest.mark.parametrize("lengths", [None, [50, 7, 1]])
def test_gradients_are_finite_and_reach_everything(kind, options, lengths):
    encoder = build(kind, options).train()
    x = features(encoder).requires_grad_()
    encoder(x, None if lengths is None else torch.tensor(lengths)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
    if lengths is not None:
        assert not x.grad[1, :, 7:].any() and not x.grad[2, :, 1:].any()


@every
def test_the_same_seed_gives_the_same_encoder(kind, options):
    one, two, other = build(kind, options), build(kind, options), build(kind, options, seed=1)
    x = features(one)
    assert torch.equal(one(x), two(x)) and not torch.equal(one(x), other(x))


@every
def test_saved_and_loaded_it_is_the_same(kind, options, tmp_path):
    encoder = build(kind, options)
    save_checkpoint(tmp_path / "e.safetensors", encoder.state_dict(), to_dict(encoder.settings))
    tensors, card = load_checkpoint(tmp_path / "e.safetensors")
    settings_of, encoder_of = ENCODERS[kind]
    again = encoder_of(from_dict(settings_of, card, where="encoder")).eval()
    again.load_state_dict(tensors)
    x = features(encoder)
    assert again.settings == encoder.settings and torch.equal(again(x), encoder(x))


@every
def test_double_computes_in_double(kind, options):
    encoder = build(kind, options).double()
    x = features(encoder).double()
    y = encoder(x, torch.tensor([50, 20, 3]))
    assert y.dtype == torch.float64
    assert torch.allclose(encoder.train()(x, torch.tensor([50, 20, 3])), encoder(x, torch.tensor([50, 20, 3])))


@every
def test_features_of_another_shape_are_refused(kind, options):
    encoder = build(kind, options)
    x = features(encoder)
    with pytest.raises(ValueError, match=r"this encoder takes \[N, \d+, T\]"):
        encoder(x[:, 1:])
    with pytest.raises(ValueError, match="T of at least 1"):
        encoder(x[:, :, :0])
    for lengths in ([50, 50], [50, 50, 51], [50, 50, 0]):
        with pytest.raises(ValueError, match="3 numbers of frames between 1 and 50"):
            encoder(x, torch.tensor(lengths))
