"""The table of objectives: every row against the contract, the combinations, and errors that say what to do."""

import dataclasses

import pytest
import torch
from conftest import build_tiny_model

from training.losses import terms as terms_module
from training.losses.equipment import Equipment, equip, training_prototypes, voice_projection
from training.losses.terms import SOURCES, TERMS, TermContext, WeighedTerms, needs_of, parse_terms, total
from training.phases import Batch
from voice2style.discriminator import Discriminator, DiscriminatorSettings
from voice2style.perceptual import PixelDistance

NUM_PEOPLE, BATCH = 3, 6
PEOPLE = torch.tensor([0, 1, 2, 0, 1, 2])


class TinyEyes(torch.nn.Module):
    """Something like a recogniser: pictures to unit vectors."""

    differentiable = True

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.layer = torch.nn.Linear(3 * 16 * 16, 8)

    def forward(self, images):
        return torch.nn.functional.normalize(self.layer(images.flatten(1)), dim=1)


class TinyProbe(TinyEyes):
    def forward(self, images):
        return self.layer(images.flatten(1))


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def world():
    """A tiny model with what every row needs."""
    model = build_tiny_model().requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        judge = Discriminator(DiscriminatorSettings(img_resolution=16, channels=(8, 8, 8), num_people=NUM_PEOPLE,
                                                    mbstd_num_channels=0)).requires_grad_(False)
    reals, eyes = seeded(BATCH, 3, 16, 16, seed=2), TinyEyes().requires_grad_(False)
    needs = set(SOURCES)
    equipment = equip(needs, model, seed=0, probe=TinyProbe().requires_grad_(False), truth=seeded(NUM_PEOPLE, 8),
                      recogniser=eyes, perceptual=PixelDistance(), faces=lambda: [(reals, PEOPLE)])
    return model, judge, equipment, reals


def hear(world, rows=slice(None), *, reals_only=False):
    """Returns (TermContext of a step, the encoder, the discriminator) for some samples of the batch."""
    model, judge, equipment, reals = world
    model.encoder.eval().requires_grad_(True)
    waves = 0.1 * seeded(BATCH, 4000, seed=3)[rows]
    embeddings = model.encoder.embed(model.frontend(waves))
    ws = model.mean_codes() + model.encoder.offsets(embeddings)
    images = model.synthesis(ws)
    judge.requires_grad_(reals_only)
    logits, person_logits = judge.judge(reals[rows] if reals_only else images)
    codes = model.mean_codes() + 0.3 * seeded(BATCH, model.num_ws, 16, seed=4)[rows]
    return TermContext(equipment, images=images, ws=ws, embeddings=embeddings, reals=reals[rows], people=PEOPLE[rows],
                       codes=codes, logits=logits, person_logits=person_logits), model.encoder, judge


@pytest.mark.parametrize("name", TERMS)
def test_every_row_is_finite_and_moves_the_network_of_its_side(name, world):
    term = TERMS[name]
    context, encoder, judge = hear(world, reals_only=term.side == "D")
    value = term.compute(context)
    assert value.shape == () and value.isfinite() and value > 0 and term.weight > 0 and term.source
    assert all(need in SOURCES and context.find(need) is not None for need in term.needs)
    trained = encoder.fc.weight if term.side == "G" else judge.classifier.out.weight
    (gradient,) = torch.autograd.grad(value, trained)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if term.per_sample])
def test_parts_of_a_batch_average_to_the_whole(name, world):
    reals_only = TERMS[name].side == "D"
    whole = TERMS[name].compute(hear(world, reals_only=reals_only)[0])
    parts = [TERMS[name].compute(hear(world, slice(k, None, 2), reals_only=reals_only)[0]) for k in range(2)]
    assert torch.allclose(whole, (parts[0] + parts[1]) / 2, rtol=1e-3, atol=1e-6)


def test_rows_whose_samples_meet_others_say_so(world):
    for name, term in TERMS.items():
        if not term.per_sample:
            whole = term.compute(hear(world)[0])
            parts = [term.compute(hear(world, slice(k, None, 2))[0]) for k in range(2)]
            assert not torch.allclose(whole, (parts[0] + parts[1]) / 2, rtol=1e-3), name


def test_the_demo_weights_give_the_demo_loss(world):
    """trait + 0.1·realism + 0.1·w_avg + 4·spread, each written out again."""
    context, _, _ = hear(world)
    equipment, offsets = world[2], context.ws - world[0].mean_codes()
    middle = offsets.mean(1, keepdim=True)
    wanted = ((equipment.probe(context.images) - equipment.truth[PEOPLE]).square().mean()
              + 0.1 * torch.nn.functional.softplus(-context.logits).mean()
              + 0.1 * (middle @ equipment.whitening).square().mean()
              + 4.0 * ((offsets - middle) @ equipment.whitening).square().mean())
    terms = WeighedTerms({name: TERMS[name].weight for name in ("trait", "realism", "w_avg", "spread")}, equipment)
    batch = Batch(BATCH, torch.arange(BATCH), images=context.reals, people=PEOPLE)
    loss, stats = total(terms.loss(batch=batch, images=context.images, ws=context.ws, logits=context.logits),
                        "Loss/voice")
    assert torch.allclose(loss, wanted, rtol=1e-5)
    assert set(stats) == {"Loss/voice/trait", "Loss/voice/realism", "Loss/voice/w_avg", "Loss/voice/spread"}


def test_l1_and_perceptual_have_the_published_shares():
    assert (TERMS["l1"].weight, TERMS["perceptual"].weight) == (0.7, 0.3)


def test_sides_are_kept_apart(world):
    context, _, _ = hear(world)
    terms = WeighedTerms({"identity": 1.0, "identity_real": 0.5, "w_avg": 0.0}, world[2], sides=("G", "D"))
    batch = Batch(BATCH, torch.arange(BATCH), people=PEOPLE)
    at_hand = {"batch": batch, "person_logits": context.person_logits}
    assert set(terms.loss(**at_hand)) == {"identity"}
    assert {name: weight for name, (weight, _) in terms.loss(side="D", **at_hand).items()} == {"identity_real": 0.5}
    with pytest.raises(ValueError, match="the term identity_real trains the discriminator; it is for --task joint"):
        WeighedTerms({"identity_real": 1.0}, world[2])


def test_only_contrastive_rows_train_a_projection(world):
    assert set(WeighedTerms({"voice_info_nce": 1.0}, world[2]).networks) == {"projection"}
    assert WeighedTerms({"id_cosine": 1.0}, world[2]).networks == {}


@pytest.mark.parametrize(("weights", "equipment", "words"), [
    ({"id_cosine": 1.0}, Equipment(), "the term id_cosine needs --recogniser FILE made by --task recogniser"),
    ({"voice_triplet": 1.0}, Equipment(), "the term voice_triplet needs --recogniser FILE, made by"),
    ({"perceptual": 1.0}, Equipment(), 'the term perceptual needs --perceptual, "pixels", "drawn" or a file'),
    ({"trait": 1.0}, Equipment(), "the term trait needs --probe FILE, made by --task probe")])
def test_missing_equipment_is_named_with_the_option_that_brings_it(weights, equipment, words):
    with pytest.raises(ValueError, match=words):
        WeighedTerms(weights, equipment)


def test_a_recogniser_without_gradients_serves_voices_but_no_pictures(world):
    blind = TinyEyes().requires_grad_(False)
    blind.differentiable = False
    equipment = dataclasses.replace(world[2], recogniser=blind)
    WeighedTerms({"voice_info_nce": 1.0, "feature": 1.0}, equipment)
    with pytest.raises(ValueError, match="no gradient goes through an ONNX file"):
        WeighedTerms({"id_cosine": 1.0}, equipment)


def test_what_a_batch_lacks_is_named(world):
    terms = WeighedTerms({"latent": 1.0}, world[2])
    with pytest.raises(ValueError, match="the term latent needs --codes FILE, known W. codes of the faces"):
        terms.loss(batch=Batch(1, torch.arange(1)), ws=torch.zeros(1, 6, 16))
    with pytest.raises(ValueError, match="the term identity needs --task joint, whose discriminator has"):
        WeighedTerms({"identity": 1.0}, world[2]).loss(batch=Batch(1, torch.arange(1), people=PEOPLE[:1]))


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if not term.per_sample])
def test_ranks_that_see_each_others_samples_average_to_the_whole(name, world, monkeypatch):
    """Two ranks, played one after the other: rank r holds samples r, r + 2, .. and is told the others' rows."""
    context = hear(world)[0]
    whole, found = TERMS[name].compute(context).detach(), []
    everything = [PEOPLE, context.real_features]
    monkeypatch.setattr(terms_module, "world_size", lambda: 2)
    monkeypatch.setattr(terms_module, "gather_across_ranks", lambda mine: everything[mine.ndim - 1])
    for rank in range(2):
        monkeypatch.setattr(terms_module, "rank", lambda rank=rank: rank)
        found.append(TERMS[name].compute(hear(world, slice(rank, None, 2))[0]).detach())
    assert torch.allclose(whole, (found[0] + found[1]) / 2, rtol=1e-4)


def test_words_of_the_command_line():
    assert parse_terms(["id_cosine=0.25", "l1", "perceptual"]) == {"id_cosine": 0.25, "l1": 0.7, "perceptual": 0.3}
    assert parse_terms([]) == {}
    with pytest.raises(ValueError, match='no term "id_cosin". Did you mean "id_cosine"'):
        parse_terms(["id_cosin=1"])
    with pytest.raises(ValueError, match='--term l1 has the weight "much"; give a number, as in l1=0.7'):
        parse_terms(["l1=much"])
    for word in ("l1=-1", "l1=nan", "l1=inf"):
        with pytest.raises(ValueError, match="allowed: finite numbers of 0 or more"):
            parse_terms([word])
    assert needs_of({"latent": 1.0, "l1": 0.0}) == {"ws", "codes"}


def test_prototypes_come_from_all_batches_and_everybody_must_be_there():
    eyes, faces = TinyEyes(), seeded(BATCH, 3, 16, 16)
    found = training_prototypes(eyes, [(faces[:2], PEOPLE[:2]), (faces[2:], PEOPLE[2:])])
    mean = (eyes(faces[1:2]) + eyes(faces[4:5])) / 2
    assert torch.allclose(found[1], torch.nn.functional.normalize(mean, dim=1)[0], atol=1e-6)
    with pytest.raises(ValueError, match="1 of 3 people have no face to make a prototype of, the first is number 1"):
        training_prototypes(eyes, [(faces[:2], torch.tensor([0, 2]))])


def test_the_projection_depends_on_the_seed_alone():
    assert torch.equal(voice_projection(16, 8, seed=3).weight, voice_projection(16, 8, seed=3).weight)
    assert not torch.equal(voice_projection(16, 8, seed=3).weight, voice_projection(16, 8, seed=4).weight)
