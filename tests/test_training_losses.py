"""Objectives against closed forms; tests/test_golden_networks.py holds them against the reference numbers."""

import math

import pytest
import torch

from training.ema import ema_beta, update_ema
from training.gan_step import lazy_adam
from training.losses import contrastive, feature, identity, latent, perceptual
from training.losses.adversarial import discriminator_loss, generator_loss
from training.losses.path_length import path_length_loss, path_lengths
from training.losses.r1 import r1_loss, r1_penalty
from training.transfer import transfer


def test_at_equal_scores_the_game_stands_at_ln2():
    zero = torch.zeros(4, 1)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(torch.full((2, 1), 50.0)).item() == pytest.approx(0, abs=1e-12)
    assert discriminator_loss(-50 * torch.ones(2, 1), 50 * torch.ones(2, 1)).item() == pytest.approx(100)


def test_generator_gradient_does_not_vanish_where_the_discriminator_is_sure():
    logits = torch.tensor([[-30.0]], requires_grad=True)
    generator_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1)


def test_r1_of_a_linear_discriminator_is_its_squared_weight():
    weight = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    real = torch.randn(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    logits = (real * weight).sum([1, 2, 3])[:, None]
    assert torch.allclose(r1_penalty(logits, real), weight.square().sum().expand(5))
    loss = r1_loss((real * weight).sum([1, 2, 3])[:, None], real, gamma=3.0)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert torch.allclose(gradient, 3.0 * weight)  # d/dw γ/2 ‖w‖² = γ w


def test_path_length_of_a_linear_generator_is_known():
    matrix = torch.randn(2, 3, dtype=torch.float64)  # picture = matrix @ w, one layer
    ws = torch.randn(4, 1, 3, dtype=torch.float64, requires_grad=True)
    images = (ws[:, 0] @ matrix.t()).reshape(4, 1, 2, 1)
    noise = torch.randn(4, 1, 2, 1, dtype=torch.float64)
    expected = (noise[:, 0, :, 0] @ matrix / math.sqrt(2)).norm(dim=1)
    lengths = path_lengths(images, ws, noise)
    assert torch.allclose(lengths, expected)
    loss, mean = path_length_loss(lengths, torch.tensor(0.0, dtype=torch.float64), decay=0.25, weight=2.0)
    assert mean.item() == pytest.approx(0.25 * expected.mean().item()) and not mean.requires_grad
    assert loss.item() == pytest.approx(2 * (expected - mean).square().mean().item())


def test_path_length_gradient_flows_through_the_running_mean():
    lengths = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    path_length_loss(lengths, torch.tensor(0.0, dtype=torch.float64), decay=1.0, weight=1.0)[0].backward()
    assert torch.allclose(lengths.grad, torch.tensor([-1.0, 1.0], dtype=torch.float64))  # variance, not second moment


def test_lazy_adam_is_corrected_for_the_interval():
    group = lazy_adam(torch.nn.Linear(1, 1), 0.002, 16).param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 16 / 17)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (16 / 17))) and group["eps"] == 1e-8


def test_ema_halves_the_distance_in_its_half_life():
    network, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        average.weight.zero_()
    network.running_mean.fill_(7)
    beta = ema_beta(100, ema_kimg=1, seen_images=10**9)
    for _ in range(10):  # 1000 images
        update_ema(average, network, beta)
    assert torch.allclose(average.weight, torch.full((2,), 0.5)) and average.running_mean[0] == 7
    assert ema_beta(100, ema_kimg=1, seen_images=2000) == 0.5 ** (100 / 100)  # ramp-up: 5 % of the images seen


def test_transfer_goes_by_name_and_shape():
    network = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 3)})
    source = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(9, 2), "other": torch.ones(1)}
    result = transfer(network, source)
    assert result.taken == ("a.weight",) and "b.weight" in result.fresh and result.left == ("b.weight", "other")
    assert torch.equal(network["a"].weight, torch.ones(2, 2)) and not torch.equal(network["b"].weight[0], torch.ones(2))


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradcheck(function, *tensors):
    assert torch.autograd.gradcheck(function, tuple(tensor.requires_grad_() for tensor in tensors))


# Path length over parts -----------------------------------------------------------------------------------------------

def test_path_length_of_parts_is_that_of_the_whole_when_the_mean_is_known():
    """Values and gradients: two parts with the mean given average to one batch that computes it."""
    lengths, mean = double(6).abs().requires_grad_(), torch.tensor(0.4, dtype=torch.float64)
    whole, moved = path_length_loss(lengths, mean, decay=0.3)
    (wanted,) = torch.autograd.grad(whole, lengths)
    known = lengths.detach().mean()
    parts = [path_length_loss(lengths[k::2], mean, decay=0.3, batch_mean=known) for k in range(2)]
    loss = (parts[0][0] + parts[1][0]) / 2
    (found,) = torch.autograd.grad(loss, lengths)
    assert torch.allclose(loss, whole) and torch.allclose(found, wanted) and torch.allclose(parts[0][1], moved)


# Identity -------------------------------------------------------------------------------------------------------------

def test_classification_at_no_knowledge_costs_the_logarithm_of_the_people():
    people = torch.tensor([0, 4, 2])
    assert identity.classification_loss(torch.zeros(3, 5), people).item() == pytest.approx(math.log(5))
    logits = double(3, 5).requires_grad_()
    identity.classification_loss(logits, people).backward()
    wanted = (logits.softmax(1) - torch.nn.functional.one_hot(people, 5)) / 3
    assert torch.allclose(logits.grad, wanted)


def test_cosine_distances_know_directions_only():
    a = double(4, 6)
    distances = identity.cosine_distances(torch.cat([a, a]), torch.cat([3 * a, -a]))
    assert torch.allclose(distances, torch.tensor([0.0] * 4 + [2.0] * 4, dtype=torch.float64), atol=1e-12)
    gradcheck(identity.cosine_distances, double(3, 4), double(3, 4, seed=1))


def test_am_softmax_by_hand():
    """Two people along the axes, a face on the first one's axis: -ln(e^{s(1-m)} / (e^{s(1-m)} + e^0))."""
    face, prototypes = torch.tensor([[2.0, 0.0]]), torch.eye(2) * 7
    loss = identity.am_softmax_loss(face, prototypes, torch.tensor([0]), scale=3, margin=0.35)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3 * 0.65)), rel=1e-5)
    people = torch.tensor([0, 2, 1])
    plain = identity.am_softmax_loss(double(3, 4), double(3, 4, seed=1), people, scale=1, margin=0)
    cosines = torch.nn.functional.cosine_similarity(double(3, 1, 4), double(3, 4, seed=1)[None], dim=2)
    assert torch.allclose(plain, torch.nn.functional.cross_entropy(cosines, people))
    gradcheck(lambda f, w: identity.am_softmax_loss(f, w, people), double(3, 4), double(3, 4, seed=1))


# Contrast -------------------------------------------------------------------------------------------------------------

ALONE = torch.arange(4)


def test_info_nce_is_cross_entropy_over_the_batch():
    voices, faces = double(4, 6), double(4, 6, seed=1)
    loss = contrastive.info_nce_loss(voices, faces, ALONE, ALONE, ALONE, temperature=0.2)
    cosines = torch.nn.functional.cosine_similarity(voices[:, None], faces[None], dim=2)
    assert torch.allclose(loss, torch.nn.functional.cross_entropy(cosines / 0.2, ALONE))
    one = contrastive.info_nce_loss(voices[:1], faces[:1], ALONE[:1], ALONE[:1], ALONE[:1])
    assert one.item() == pytest.approx(0, abs=1e-12)  # nobody to be taken for
    gradcheck(lambda a, b: contrastive.info_nce_loss(a, b, ALONE, ALONE, ALONE), double(4, 5), double(4, 5, seed=2))


@pytest.mark.parametrize("loss", [contrastive.info_nce_loss, contrastive.triplet_loss])
def test_a_persons_other_face_is_no_negative(loss):
    voices, faces, people = double(3, 6), double(3, 6, seed=1), torch.tensor([0, 0, 1])
    found = loss(voices[:1], faces, people[:1], people, torch.tensor([0]))
    wanted = loss(voices[:1], faces[[0, 2]], people[:1], people[[0, 2]], torch.tensor([0]))
    assert torch.allclose(found, wanted)


def test_ranks_that_see_all_candidates_average_to_the_whole():
    """Each of two ranks holds every second anchor and sees all candidates: the losses average to one batch's."""
    voices, faces = double(4, 6), double(4, 6, seed=1)
    for loss in (contrastive.info_nce_loss, contrastive.triplet_loss):
        whole = loss(voices, faces, ALONE, ALONE, ALONE)
        parts = [loss(voices[k::2], faces, ALONE[k::2], ALONE, k + 2 * torch.arange(2)) for k in range(2)]
        assert torch.allclose(whole, (parts[0] + parts[1]) / 2)


def test_triplets_by_hand():
    """Anchor and positive alike, the negative at a right angle (distance 2): 0 + margin - 2, never below 0."""
    faces = torch.eye(2)
    people = torch.tensor([0, 1])
    near = contrastive.triplet_loss(faces[:1], faces, people[:1], people, torch.tensor([0]), margin=0.2)
    far = contrastive.triplet_loss(faces[:1], faces, people[:1], people, torch.tensor([0]), margin=2.5)
    wrong = contrastive.triplet_loss(faces[1:], faces, people[:1], people, torch.tensor([0]), margin=0.2)
    assert (near.item(), far.item(), wrong.item()) == (0, pytest.approx(0.5), pytest.approx(2.2))
    alone = contrastive.triplet_loss(faces[:1], faces[:1], people[:1], people[:1], torch.tensor([0]))
    assert alone.item() == 0
    gradcheck(lambda a, b: contrastive.triplet_loss(a, b, ALONE, ALONE, ALONE), double(4, 5), double(4, 5, seed=2))


# Codes ----------------------------------------------------------------------------------------------------------------

def test_distances_of_codes_and_their_shares():
    """A whitened offset has two parts, mean over the layers and rest; their squares add up."""
    offsets, matrix = double(3, 4, 5), double(5, 5, seed=1)
    together = (offsets @ matrix).square().mean()
    assert torch.allclose(latent.mean_latent_loss(offsets, matrix) + latent.spread_loss(offsets, matrix), together)
    assert latent.spread_loss(offsets[:, :1].expand(3, 4, 5), matrix).item() == pytest.approx(0, abs=1e-25)
    codes = double(3, 4, 5, seed=2)
    assert torch.allclose(latent.whitened_latent_loss(offsets, codes, torch.eye(5, dtype=torch.float64)),
                          latent.latent_loss(offsets, codes))
    assert latent.latent_loss(codes + 2, codes).item() == pytest.approx(4)
    gradcheck(lambda ws: latent.whitened_latent_loss(ws, codes, matrix), double(3, 4, 5, seed=3))


def test_whitening_gives_codes_unit_variance():
    from conftest import build_tiny_model

    generator = build_tiny_model().generator
    matrix = latent.whitening(generator, num_samples=20000)
    codes = generator.mapping(torch.randn(20000, 16, generator=torch.Generator().manual_seed(9)))[:, 0] @ matrix
    assert torch.allclose(torch.cov(codes.T), torch.eye(16), atol=0.1)
    conditional = latent.whitening(build_tiny_model(c_dim=3).generator, num_samples=300)
    assert conditional.shape == (16, 16) and conditional.isfinite().all()


def test_style_loss_reads_each_layer_where_the_synthesis_reads_it():
    from conftest import build_tiny_model

    synthesis = build_tiny_model().generator.double().synthesis
    rows = [row for _, row in latent.affine_layers(synthesis)]
    assert rows == [0, 1, 1, 2, 3, 3, 4, 5] and max(rows) == synthesis.num_ws - 1
    ws = double(2, 6, 16)
    assert latent.style_loss(synthesis, ws, ws).item() == 0
    seen, hooks = [], []
    for affine, _ in latent.affine_layers(synthesis):
        hooks.append(affine.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0])))
    synthesis(ws, noise_mode="const")
    assert all(torch.equal(code, ws[:, row]) for code, row in zip(seen, rows))


# Features, pixels -----------------------------------------------------------------------------------------------------

def test_feature_regression_does_not_see_lengths():
    a, b = double(2, 6), double(2, 6, seed=1)
    assert torch.allclose(feature.feature_loss(5 * a, b), feature.feature_loss(a, 0.1 * b))
    assert feature.feature_loss(a, 2 * a).item() == pytest.approx(0, abs=1e-12)
    assert feature.feature_loss(a, -a, norm=2).item() == pytest.approx(4)  # squared distance of opposite unit vectors
    with pytest.raises(ValueError, match="norm is 3; allowed: 1 or 2"):
        feature.feature_loss(a, b, norm=3)


def test_distillation_is_least_where_voice_and_face_agree_and_teaches_the_voice_only():
    face = double(3, 5, seed=1).requires_grad_()
    voice = face.detach().clone().requires_grad_()
    feature.distillation_loss(voice, face).backward()
    assert voice.grad.abs().max() < 1e-12 and face.grad is None
    entropy = -((face / 2).softmax(1) * (face / 2).log_softmax(1)).sum(1).mean()
    assert feature.distillation_loss(voice, face).item() == pytest.approx(entropy.item())
    assert feature.distillation_loss(voice + double(3, 5), face) > entropy


def test_perceptual_and_l1_of_the_same_picture_are_nothing():
    from voice2style.perceptual import PixelDistance

    images = double(2, 3, 16, 16)
    assert perceptual.l1_loss(images, images + 0.25).item() == pytest.approx(0.25)
    assert perceptual.perceptual_loss(PixelDistance(), images, images).item() == 0
    moved = images.clone().requires_grad_()
    perceptual.perceptual_loss(PixelDistance(), moved + 0.1, images).backward()
    assert moved.grad.abs().max() > 0
    apart = perceptual.FeatureDistance(lambda x: x.mean([2, 3]))
    assert torch.allclose(apart.between(apart.features(images), apart.features(-images)),
                          torch.full([2], 4.0, dtype=torch.float64))


def test_a_perceptual_network_comes_from_a_word_or_a_file(tmp_path):
    from metrics.judges.trait_probe import TraitProbe, TraitProbeSettings, save_probe

    path = tmp_path / "probe.safetensors"
    save_probe(TraitProbe(TraitProbeSettings(traits=("pitch",), resolution=16, width=4)), path)
    distance = perceptual.load_perceptual(path)
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    perceptual.perceptual_loss(distance, images, torch.zeros(2, 3, 16, 16)).backward()
    assert images.grad.abs().max() > 0 and not any(p.requires_grad for p in distance.parameters())
    assert type(perceptual.load_perceptual("pixels")).__name__ == "PixelDistance"
    with pytest.raises(ValueError, match="no such file: .*none.safetensors.*--perceptual takes pixels"):
        perceptual.load_perceptual(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match='no such file: ".*vgg.pth"'):
        perceptual.load_perceptual(tmp_path / "vgg.pth")


def test_depths_are_compared_at_unit_length():
    class Depths(torch.nn.Module):
        def maps(self, images):
            return [images, torch.nn.functional.avg_pool2d(images, 2)]

    distance, images = perceptual.DepthDistance(Depths()), double(2, 3, 8, 8)
    features = distance.features(images)
    assert distance.between(features, distance.features(5 * images)).abs().max() < 1e-12
    assert torch.allclose(distance.between(features, distance.features(-images)), torch.full([2], 8.0).double())
    gradcheck(lambda x: distance.between(distance.features(x), features), double(2, 3, 8, 8, seed=1))


def test_the_shipped_judge_and_recognisers_serve_as_perceptual_networks(tmp_path):
    face_id = pytest.importorskip("metrics.judges.face_id")
    pytest.importorskip("metrics.judges.drawn")
    settings = face_id.FaceRecogniserSettings(resolution=16, width=4, embed_dim=8, num_people=2)
    face_id.save_recogniser(face_id.FaceRecogniser(settings), tmp_path / "recogniser.safetensors")
    for source in ("drawn", tmp_path / "recogniser.safetensors"):
        distance, images = perceptual.load_perceptual(source), torch.rand(2, 3, 64, 64) * 2 - 1
        moved = (0.5 * images).requires_grad_()
        assert perceptual.perceptual_loss(distance, images, images).item() == pytest.approx(0, abs=1e-6)
        perceptual.perceptual_loss(distance, moved, images).backward()
        assert moved.grad.isfinite().all() and moved.grad.abs().max() > 0
