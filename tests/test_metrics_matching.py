"""Matching: closed forms of chance and of oracles, the deaf and the perfect model, lists in the public formats."""

import numpy as np
import pytest

from metrics.matching import chance, credit, deal, distinct_rows, draw_trials, matching_result, one_hot, trial_scores
from metrics.pair_lists import face_key, read_list, read_matching, read_verification, voice_key
from metrics.verification import area_under_curve, equal_error_rate


def people_with_rows(count, each):
    return np.repeat(np.arange(count), each)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def world():
    """200 people with 3 clips and 2 faces each, and embeddings of the faces that know who it is."""
    random = np.random.default_rng(0)
    truth = unit(random.standard_normal((200, 32)))
    clips, faces = people_with_rows(200, 3), people_with_rows(200, 2)
    return {"random": random, "truth": truth, "clips": clips, "faces": faces, "photos": truth[faces]}


@pytest.mark.parametrize("num_candidates", [2, 3, 10])
def test_a_model_that_ignores_its_voice_scores_chance(world, num_candidates):
    trials = draw_trials(world["clips"], world["faces"], num_candidates=num_candidates, trials=6000, seed=1)
    noise = unit(world["random"].standard_normal((600, 32)))
    one_face = np.tile(noise[:1], (600, 1))
    for probes in (noise, one_face):
        found = matching_result(trial_scores(probes, world["photos"], trials), trials, name="m", judge="j", rounds=200)
        error = (found.high - found.low) / 4
        assert abs(found.value - chance(num_candidates)) < 3.5 * error and found.n == 200
        assert error < 0.02


def test_a_perfect_model_scores_one_and_its_shuffled_voices_chance(world):
    trials = draw_trials(world["clips"], world["faces"], trials=4000)
    perfect = world["truth"][world["clips"]]
    assert credit(trial_scores(perfect, world["photos"], trials)).mean() == 1
    dealt = deal(world["clips"], 3)
    shuffled = draw_trials(dealt, world["faces"], trials=4000)
    found = matching_result(trial_scores(perfect, world["photos"], shuffled), shuffled, name="m", judge="j", rounds=200)
    assert found.low < 0.5 < found.high


def test_dealing_moves_owners_and_not_rows():
    rows = [{"person": person, "path": place} for place, person in enumerate("aabbbccd")]
    dealt = deal(rows, 5)
    assert [row["path"] for row in dealt] == list(range(8)) and rows[0]["person"] == "a"
    assert dealt[0]["person"] == dealt[1]["person"] and {row["person"] for row in dealt} == set("abcd")
    assert deal(rows, 5) == dealt and any(deal(rows, seed) != dealt for seed in range(5))
    hits = [np.mean(deal(np.arange(20), seed) == np.arange(20)) for seed in range(400)]
    assert np.mean(hits) == pytest.approx(1 / 20, abs=0.015)  # uniform over permutations: no bias below chance


def test_trials_are_fair_to_people_and_hold_each_person_once(world):
    trials = draw_trials(world["clips"], world["faces"], num_candidates=5, trials=1000)
    assert np.array_equal(np.bincount(trials.people[:, 0]), np.full(200, 5))
    assert all(len(set(row)) == 5 for row in trials.people.tolist())
    assert np.array_equal(world["clips"][trials.probes], trials.people[:, 0])
    assert np.array_equal(world["faces"][trials.candidates], trials.people)
    again, other = (draw_trials(world["clips"], world["faces"], num_candidates=5, trials=1000, seed=s) for s in (0, 1))
    assert np.array_equal(again.candidates, trials.candidates) and not np.array_equal(other.people, trials.people)


@pytest.mark.parametrize("width, count", [(2, 4), (3, 40)])
def test_impostors_are_drawn_evenly(width, count):
    rows = distinct_rows(40000, width, count, np.random.default_rng(0))
    assert all(len(set(row)) == width for row in rows[:2000].tolist()) and rows.min() == 0 and rows.max() == count - 1
    for column in rows.T:
        assert np.bincount(column) / 40000 == pytest.approx(np.full(count, 1 / count), abs=5 / np.sqrt(40000 * count))
    together = ((rows == 0).any(1) & (rows == 1).any(1)).mean()
    assert together == pytest.approx(width * (width - 1) / (count * (count - 1)), rel=0.15)


def test_strata_hold_one_group_and_leave_out_who_has_none(world):
    groups = {person: ("m", "f", None)[person % 3] for person in range(200)}
    groups[0] = "alone"
    trials = draw_trials(world["clips"], world["faces"], num_candidates=4, trials=500, groups=groups)
    labels = np.vectorize(groups.get)(trials.people)
    assert (labels == labels[:, :1]).all() and set(labels.ravel()) == {"m", "f"}
    with pytest.raises(ValueError, match="no group has 300 people"):
        draw_trials(world["clips"], world["faces"], num_candidates=300, groups=groups)
    with pytest.raises(ValueError, match="1 candidates"):
        draw_trials(world["clips"], world["faces"], num_candidates=1)


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("num_candidates", [2, 6])
def test_an_oracle_scores_its_closed_form(share, num_candidates):
    """E[1 / (1 + number of impostors of the same group)]; for N = 2 that is P(differs) + P(same) / 2."""
    count, each = 400, np.arange(400)
    labels = ["m" if person < share * count else "f" for person in each]
    trials = draw_trials(each, each, num_candidates=num_candidates, trials=20000)
    code = one_hot(labels)
    found = credit(trial_scores(code, code, trials)).mean()
    same = {"m": (share * count - 1) / (count - 1), "f": ((1 - share) * count - 1) / (count - 1)}
    expected = share * _mean_share(same["m"], num_candidates) + (1 - share) * _mean_share(same["f"], num_candidates)
    assert found == pytest.approx(expected, abs=0.012)
    if num_candidates == 2:
        agree = share * same["m"] + (1 - share) * same["f"]
        assert expected == pytest.approx(1 - agree + agree / 2)


def _mean_share(same, num_candidates):
    from scipy.stats import binom

    others = np.arange(num_candidates)
    return float((binom.pmf(others, num_candidates - 1, same) / (1 + others)).sum())


def test_unknown_groups_know_nothing():
    code = one_hot(["m", None, "m", None])
    assert (code @ code.T).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_ties_share_the_credit():
    assert credit(np.array([[1.0, 1, 1, 0], [2, 1, 1, 0], [0, 0, 0, 1]])).tolist() == pytest.approx([1 / 3, 1, 0])
    with pytest.raises(ValueError, match="1 of 4 scores are NaN"):
        credit(np.array([[1, np.nan], [0, 1]]))
    with pytest.raises(ValueError, match=r"\[T, N\] with N of 2"):
        credit(np.ones((3, 1)))


def test_path_styles_have_one_key():
    assert face_key("A.R._Rahman/1.6/a_b-c_d-e_f/0000025.jpg") == ("A.R._Rahman", "a_b-c_d-e_f", "25")
    assert face_key("A.R._Rahman/a_b-c_d-e_f/0000025.jpg") == face_key("A.R._Rahman/1.6/a_b-c_d-e_f/0000025.jpg")
    assert voice_key("id10002/a_b-c_d-e_f/00001.wav") == ("id10002", "a_b-c_d-e_f", "1")
    assert voice_key("id10002/a_b-c_d-e_f_0000001.wav") == voice_key("id10002/a_b-c_d-e_f/00001.wav")
    with pytest.raises(ValueError, match="not the path of a voice"):
        voice_key("id10002/x/00001.jpg")
    with pytest.raises(ValueError, match="a folder of the person"):
        face_key("0001.jpg")


def write_public_lists(folder, people, *, trials, random):
    """Writes a matching and a verification list in the PINs formats; returns gender by name."""
    names = [f"P.{number:03d}_Name" for number in range(len(people))]
    lines, pairs = [], ["id,voice-speaker-id,face-speaker-id,label,voice-path,face-path"]
    for trial in range(trials):
        mine, other = random.choice(len(names), 2, replace=False)
        lines.append(f"id1{mine:04d}/abcdefghi_{trial % 10}/{trial:05d}.wav {names[mine]}/1.6/vid-{trial}/0000025.jpg "
                     f"{names[other]}/1.6/vid-{trial}/0000050.jpg")
        face = mine if trial % 2 == 0 else other
        pairs.append(f"{trial},id1{mine:04d},{names[face]},{int(face == mine)},"
                     f"{names[mine]}/abcdefghi_1_{trial:07d}.wav,{names[face]}/vid-{trial}/0000025.jpg")
    (folder / "matching_v2f_U.csv").write_text("\n".join(lines) + "\n")
    (folder / "veriflist_test_random_unseenunheard.txt").write_text("\n".join(pairs) + "\n")
    return dict(zip(names, people))


def test_the_oracle_is_reproduced_on_lists_in_the_public_format(tmp_path):
    """151 men and 99 women as in the public test split: 1:2 accuracy P(differs) + P(same)/2, AUC 1 - f/2, EER f/(1+f).

    f, the share of impostors of the same gender, is counted in the list itself, so the forms hold exactly.
    """
    gender = write_public_lists(tmp_path, ["m"] * 151 + ["f"] * 99, trials=8000, random=np.random.default_rng(3))
    found = read_matching(tmp_path / "matching_v2f_U.csv")
    assert found.direction == "v2f" and len(found.probes) == 8000
    right, wrong = ([gender[row[place][0]] for row in found.candidates] for place in (0, 1))
    scores = np.array([[1.0, float(a == b)] for a, b in zip(right, wrong)])
    differs = np.mean([a != b for a, b in zip(right, wrong)])
    assert credit(scores).mean() == pytest.approx(differs + (1 - differs) / 2, abs=1e-12)
    assert credit(scores).mean() == pytest.approx(0.74, abs=0.01)  # the published lists: 74.6, A to E: 73.8
    pairs = read_verification(tmp_path / "veriflist_test_random_unseenunheard.txt")
    voices, faces = ([gender[key[0]] for key in keys] for keys in (pairs.voices, pairs.faces))
    agree, labels = np.array([float(a == b) for a, b in zip(voices, faces)]), np.array(pairs.labels)
    share = agree[~labels].mean()
    assert area_under_curve(agree, labels) == pytest.approx(1 - share / 2, abs=1e-12)
    assert equal_error_rate(agree, labels) == pytest.approx(share / (1 + share), abs=1e-12)
    assert read_list(pairs.path) == pairs and read_list(found.path) == found


def test_lists_of_faces_to_voices_and_of_more_candidates(tmp_path):
    (tmp_path / "list.csv").write_text("probe match impostor\n"
                                       "A/1.6/v/0000025.jpg id1/v/00001.wav id2/w/00001.wav id3/w/00001.wav\n")
    found = read_list(tmp_path / "list.csv")
    assert found.direction == "f2v" and found.candidates == [(("id1", "v", "1"), ("id2", "w", "1"), ("id3", "w", "1"))]


HEAD = "id,voice-speaker-id,face-speaker-id,label,voice-path,face-path\n"


@pytest.mark.parametrize("text, message", [
    ("a/b/1.wav a/b/1.jpg\n", "line 1 .* has 2 fields"),
    ("a/b/1.wav a/b/1.jpg c/d/1.jpg\na/b/1.wav a/b/1.jpg\n", "line 2 .* has 2 fields"),
    ("a/b/1.wav a/b/1.jpg c/d/1.jpg\na/b/1.wav a/b/1.jpg c/d/1.jpg e/f/1.jpg\n", "3 candidates, the lines before 2"),
    ("a/b/1.wav a/b/1.wav c/d/1.wav\n", "a voice and faces, or a face and voices"),
    ("a/b/1.wav a/b/1.jpg c/d/1.txt\n", "ends neither like a clip"),
    ("a/b/1.wav a/b/1.jpg c/d/1.jpg\na/b/1.jpg a/b/1.wav c/d/1.wav\n", "the same in every line"),
    ("", "has no trials"), (HEAD, "has no pairs"),
    ("id,label\n1,1\n", "has no column voice-speaker-id"),
    (HEAD + "1,a,b,2,a/b/1.wav,a/b/1.jpg\n", 'has the label "2"'),
    (HEAD + "1,a,b,1,a/b/1.wav\n", "has 5 fields, the header 6"),
    (HEAD + "1,a,b,1,a/b/1.jpg,a/b/1.jpg\n", "not the path of a voice")])
def test_bad_lists_are_one_sentence(tmp_path, text, message):
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_list(tmp_path / "list")


def test_lists_that_are_no_text(tmp_path):
    (tmp_path / "list").write_bytes(b"\x80\x04\x95\xff\xfe")
    for path, message in ((tmp_path / "list", "not text"), (tmp_path, "is a folder"), (tmp_path / "no", "no such")):
        with pytest.raises(ValueError, match=message):
            read_list(path)
