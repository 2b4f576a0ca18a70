"""The ladder and its neighbours: rungs in their places, similarity, class score, consistency, share of speakers."""

import io
import math

import numpy as np
import pytest

from metrics.consistency import consistency_results, explained_variance, pairs_of, speaker_share
from metrics.feature_similarity import class_score, similarities, similarity_results
from metrics.ladder import BASELINE, CEILING, CONTROL, MODEL, ORACLE, Rung, climb, plot
from metrics.matching import deal, one_hot


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def ladder():
    """160 people, half of a group, clips that tell the group and a little of the person, two photographs each."""
    random = np.random.default_rng(0)
    group = np.repeat([0, 1], 80)
    person = unit(random.standard_normal((160, 24)) + 6 * np.eye(24)[group])
    clips, faces = np.repeat(np.arange(160), 2), np.repeat(np.arange(160), 2)
    photos = unit(person[faces] + 0.05 * random.standard_normal((320, 24)))
    drawn = unit(person[clips] + 0.25 * random.standard_normal((320, 24)))
    second = unit(person[clips] + 0.05 * random.standard_normal((320, 24)))
    second[:10] = np.nan  # five people with one photograph only
    code = one_hot(group.tolist())
    rungs = [Rung("gender oracle", ORACLE, code[clips], code[faces]),
             Rung("mean face", BASELINE, np.tile(photos.mean(0), (320, 1)), photos),
             Rung("MODEL", MODEL, drawn, photos),
             Rung("MODEL, shuffled voices", CONTROL, drawn[2 * deal(np.arange(160), 1)[clips]], photos),
             Rung("another photograph", CEILING, second, photos)]
    groups = {person: int(label) for person, label in enumerate(group)}
    return climb(rungs, clips, faces, strata={"all": None, "same gender": groups}, judge="j", trials=3000, rounds=100)


def test_every_rung_is_where_it_belongs(ladder):
    by = {rung.name: numbers for rung, numbers in zip(ladder.rungs, ladder.numbers)}
    oracle = by["gender oracle"]
    assert oracle["match_all"].value == pytest.approx(0.75, abs=0.02) and oracle["match_same_gender"].value == 0.5
    assert oracle["r1"].value == pytest.approx(1 / 80) and oracle["auc_same_gender"].value == 0.5
    assert by["mean face"]["match_all"].low < 0.5 < by["mean face"]["match_all"].high
    assert by["mean face"]["r1"].value == pytest.approx(1 / 160)
    shuffled, model, ceiling = by["MODEL, shuffled voices"], by["MODEL"], by["another photograph"]
    assert shuffled["match_same_gender"].low < 0.5 < shuffled["match_same_gender"].high
    for column in ladder.columns:
        assert shuffled[column].value < model[column].value < ceiling[column].value, column
    assert ceiling["match_all"].n == 155 and model["match_all"].n == 160


def test_the_table_and_the_results(ladder):
    text = ladder.markdown()
    assert text.splitlines()[0].startswith("|") and "1:2, same gender" in text and "R@1 of 160" in text
    assert "| chance" in text and "**MODEL**" in text and "…" in text
    names = [result.name for result in ladder.results()]
    assert "ladder_model_match_same_gender" in names and "ladder_gender_oracle_r1" in names
    assert len(names) == len(set(names))


def test_the_plot_is_a_picture(ladder):
    image = pytest.importorskip("matplotlib.image")
    file = io.BytesIO()
    plot(ladder, file, columns=["match_all", "match_same_gender"], title="tiny")
    file.seek(0)
    pixels = image.imread(file)
    assert pixels.shape[0] > 200 and pixels.shape[1] > 500 and pixels[..., :3].std() > 0.05


def test_a_stratum_in_which_nobody_shares_a_group_has_no_column():
    people = np.arange(6)
    found = climb([Rung("m", MODEL, np.eye(6), np.eye(6))], people, people,
                  strata={"all": None, "same name": {k: k for k in range(6)}}, judge="j", trials=50, rounds=10)
    assert set(found.columns) == {"match_all", "auc_all", "r1"}


def test_similarities_of_known_vectors():
    found = similarities(np.array([[2.0, 0], [1, 0]]), np.array([[5.0, 0], [0, 3]]))
    assert found["cosine"] == pytest.approx([1, 0]) and found["angle_deg"] == pytest.approx([0, 90])
    assert found["l2"] == pytest.approx([0, math.sqrt(2)]) and found["l1"] == pytest.approx([0, 2])
    results = similarity_results(np.eye(4), np.eye(4), np.arange(4), judge="j", rounds=10)
    assert [result.name for result in results] == [f"similarity_{key}" for key in ("l1", "l2", "cosine", "angle_deg")]
    with pytest.raises(ValueError, match="1 embeddings are all zero"):
        similarities(np.zeros((1, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="one shape"):
        similarities(np.ones((1, 2)), np.ones((2, 2)))


def test_class_score_bounds_and_closed_forms():
    one_each = np.tile(np.eye(10), (10, 1))
    many = class_score(one_each, splits=1, judge="j")
    assert many.value == pytest.approx(10) and many.n == 100 and many.low is None  # zero probabilities are harmless
    assert class_score(np.full((50, 10), 0.1), judge="j").value == pytest.approx(1)
    assert class_score(np.eye(10)[np.zeros(50, int)], judge="j").value == pytest.approx(1)
    two = np.tile([[.9, .1], [.1, .9]], (20, 1))
    divergence = .9 * math.log(.9 / .5) + .1 * math.log(.1 / .5)
    assert class_score(two, splits=1, judge="j").value == pytest.approx(math.exp(divergence))
    assert class_score(one_each, of=50, seed=1, judge="j") == class_score(one_each, of=50, seed=1, judge="j")
    assert class_score(one_each, of=50, judge="j").n == 50
    for table, more, message in ((np.ones((5, 2)), {}, "add up to 1"), (-np.eye(2), {}, "not negative"),
                                 (one_each, {"of": 7}, "cut into 5 equal"), (one_each, {"of": 500}, "at most 100")):
        with pytest.raises(ValueError, match=message):
            class_score(table, judge="j", **more)


def test_consistency_of_speakers_recordings_and_one_face():
    random = np.random.default_rng(1)
    people = np.repeat(np.arange(60), 3)
    speakers = unit(random.standard_normal((60, 16)))
    for embeddings, low, high in ((speakers[people], 0, 1e-9), (unit(random.standard_normal((180, 16))), 0.93, 1.07)):
        ratio = consistency_results(embeddings, people, judge="j", rounds=100)[2]
        assert ratio.name == "consistency_ratio" and low <= ratio.value <= high and ratio.n == 60
    with pytest.raises(ValueError, match="same face"):
        consistency_results(np.tile(speakers[:1], (180, 1)), people, judge="j")
    with pytest.raises(ValueError, match="two clips of one of them"):
        consistency_results(speakers, np.arange(60), judge="j")
    within, between = pairs_of(people, random)
    assert len(within) == 180 and (people[within[:, 0]] == people[within[:, 1]]).all()
    assert (people[between[:, 0]] != people[between[:, 1]]).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_share_of_speakers_is_unbiased(share):
    random = np.random.default_rng(2)
    people = np.repeat(np.arange(400), random.integers(1, 4, 400))
    speaker = math.sqrt(share) * random.standard_normal((400, 2, 12))
    codes = speaker[people] + math.sqrt(1 - share) * random.standard_normal((len(people), 2, 12))
    assert speaker_share(codes, people) == pytest.approx(np.full(2, share), abs=0.05)
    constant = np.zeros((len(people), 1, 12))
    assert np.isnan(speaker_share(constant, people)).all()
    with pytest.raises(ValueError, match="two clips of one of them"):
        speaker_share(codes[:3], np.arange(3))


def test_explained_variance_of_codes():
    random = np.random.default_rng(3)
    truth, mean = random.standard_normal((50, 3, 4)) + 2, np.full((1, 3, 4), 2.0)
    assert explained_variance(truth, truth, mean) == pytest.approx(np.ones(3))
    assert explained_variance(np.broadcast_to(mean, truth.shape), truth, mean) == pytest.approx(np.zeros(3))
    half = mean + 0.5 * (truth - mean)
    assert explained_variance(half, truth, mean) == pytest.approx(np.full(3, 0.75))
    with pytest.raises(ValueError, match="differ from the mean latent"):
        explained_variance(truth, np.broadcast_to(mean, truth.shape), mean)
