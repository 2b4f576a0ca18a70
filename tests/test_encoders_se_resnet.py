"""The audio processor's own laws: its layout, its ablations, masked layers against their textbook forms, segments."""

import pytest
import torch
from torch import nn

from voice2style.encoders.se_resnet import MaskedBatchNorm, SEResNet, SEResNetSettings, SqueezeExcitation, Valid

TINY = {"num_ws": 4, "w_dim": 8, "rows": 16, "base_width": 4, "embed_dim": 16}


def test_the_published_layout():
    encoder = SEResNet(SEResNetSettings(num_ws=18))
    assert [block.conv2.out_channels for block in encoder.blocks] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [block.stride for block in encoder.blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert [block.se.squeeze.out_features for block in encoder.blocks] == [4, 4, 8, 8, 16, 16, 32, 32]
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert len(convolutions) + 1 == 18  # and the layer after the pooling
    assert encoder.fc.out_features == 512 and encoder.head.out_features == 18 * 512
    total, count = encoder.pooled(torch.zeros(1, 120, 320))
    assert total.shape == (1, 512) and count.tolist() == [[2 * 10]]  # 40 x 320 by a stride of 32


def test_ablations_are_one_option_each():
    with_all = SEResNet(SEResNetSettings(**TINY))
    without = SEResNet(SEResNetSettings(**TINY, use_se=False))
    assert any(".se." in name for name in with_all.state_dict())
    assert not any(".se." in name for name in without.state_dict())
    relu = SEResNet(SEResNetSettings(**TINY, activation="relu"))
    relu.load_state_dict(with_all.state_dict())
    x = torch.randn(2, 48, 40)
    assert not torch.allclose(relu.eval().embed(x), with_all.eval().embed(x))
    assert (relu.pooled(x)[0] >= 0).all() and (with_all.pooled(x)[0] < 0).any()


@pytest.mark.parametrize("changes, words", [({"activation": "gelu"}, "'gelu'; choose one of mish, relu"),
                                            ({"base_width": 0}, "base_width is 0"), ({"num_ws": 2.0}, "num_ws is 2.0")])
def test_settings_that_cannot_work_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        SEResNetSettings(**{**TINY, **changes})


@pytest.mark.parametrize("affine", [True, False])
def test_masked_batch_norm_is_batch_norm_over_the_valid_positions(affine):
    ours, theirs = MaskedBatchNorm(3, affine=affine).double(), nn.BatchNorm1d(3, affine=affine).double()
    if affine:
        nn.init.normal_(ours.weight)
        nn.init.normal_(ours.bias)
        theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 3, 5, 9, dtype=torch.float64)
    lengths = torch.tensor([9, 1, 4, 6])
    got = ours(x, Valid(lengths))
    inside = torch.arange(9) < lengths[:, None]  # [N, T]
    values = x.permute(0, 3, 2, 1)[inside].flatten(0, 1)  # [positions, C]
    expected = theirs(values)
    assert torch.allclose(got.permute(0, 3, 2, 1)[inside].flatten(0, 1), expected, atol=1e-6)
    assert torch.allclose(ours.running_mean, theirs.running_mean)
    assert torch.allclose(ours.running_var, theirs.running_var)
    assert ours.num_batches_tracked == 1


def test_squeeze_and_excitation_looks_at_valid_means_only():
    layer = SqueezeExcitation(8, 16)
    x = torch.randn(2, 8, 3, 10)
    changed = x.clone()
    changed[1, :, :, 4:] = 99.0
    lengths = Valid(torch.tensor([10, 4]))
    assert torch.equal(layer(x, lengths)[1, :, :, :4], layer(changed, lengths)[1, :, :, :4])
    gate = torch.sigmoid(layer.excite(torch.relu(layer.squeeze(x[:1].mean((2, 3))))))
    assert torch.allclose(layer(x, lengths)[:1], x[:1] * gate[:, :, None, None], atol=1e-6)


def test_sums_of_segments_add_up_to_the_pooling_of_the_whole():
    torch.manual_seed(0)
    encoder = SEResNet(SEResNetSettings(**TINY)).eval()
    x = torch.randn(1, 48, 640)
    sums, counts = zip(*(encoder.pooled(part) for part in x.split(320, dim=2)))
    joined = encoder.embedding_of(sum(sums), sum(counts))
    assert torch.allclose(sum(counts), encoder.pooled(x)[1])
    whole, other = encoder.embed(x), encoder.embed(torch.randn(1, 48, 640) * 3)
    assert (joined - whole).norm() < 0.3 * (other - whole).norm()  # equal but for the seam and the gates
    single = encoder.embedding_of(*encoder.pooled(x))
    assert torch.equal(single, whole)


def test_it_learns_to_tell_two_kinds_of_features_apart():
    stream = torch.Generator().manual_seed(0)
    encoder = SEResNet(SEResNetSettings(**TINY), generator=stream)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    kind = (torch.arange(16) % 2).float()
    x = torch.randn(16, 48, 48, generator=stream) + kind[:, None, None] * torch.linspace(-1, 1, 48)[None, :, None]
    lengths = torch.randint(20, 49, (16,), generator=stream)
    for _ in range(30):
        loss = (encoder(x, lengths).mean((1, 2)) - kind).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05
