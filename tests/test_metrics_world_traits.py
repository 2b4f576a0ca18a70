"""R² on the drawn world: closed forms, intervals, the probe's file."""

import numpy as np
import pytest
import torch

from metrics.judges.face_id import load_recogniser
from metrics.judges.trait_probe import TraitProbe, TraitProbeSettings, load_probe, save_probe
from metrics.world_traits import r_squared, trait_scores


def test_r_squared_of_perfect_mean_and_opposite_answers():
    truth = np.array([-1.0, 0.0, 1.0, 2.0])
    assert r_squared(truth, truth) == 1
    assert r_squared(truth, np.full(4, truth.mean())) == 0
    assert r_squared(truth, 2 * truth.mean() - truth) == pytest.approx(-3)
    with pytest.raises(ValueError, match="a trait that varies"):
        r_squared(np.ones(3), truth[:3])


def test_an_ideal_listener_reaches_the_ceiling_and_the_interval_covers_it():
    random = np.random.default_rng(0)
    heard, rho = random.standard_normal(4000), 0.8
    truth = rho * heard + np.sqrt(1 - rho**2) * random.standard_normal(4000)
    (score,) = trait_scores({"jaw": truth}, {"jaw": rho * heard}, ceilings={"jaw": rho**2}, rounds=200)
    assert score.value == pytest.approx(rho**2, abs=0.02) and score.low < rho**2 < score.high and score.n == 4000
    (deaf,) = trait_scores({"skin": truth}, {"skin": random.permutation(rho * heard)}, ceilings={}, rounds=50)
    assert deaf.value < 0 and deaf.ceiling is None


def test_without_rounds_there_is_no_interval():
    (score,) = trait_scores({"a": np.arange(5.0)}, {"a": np.arange(5.0)}, ceilings={}, rounds=0)
    assert score.value == 1 and score.limits == (None, None)
    (score,) = trait_scores({"a": np.arange(5.0)}, {"a": np.arange(5.0)}, ceilings={}, rounds=10)
    assert score.limits == (1, 1)


def test_scores_are_repeatable_and_check_shapes():
    truth, read = {"a": np.arange(5.0)}, {"a": np.arange(5.0) + 0.3}
    assert trait_scores(truth, read, ceilings={}) == trait_scores(truth, read, ceilings={})
    with pytest.raises(ValueError, match='trait "a": expected 5 values each'):
        trait_scores(truth, {"a": np.arange(4.0)}, ceilings={})


def test_a_probe_as_a_judge_compares_traits_and_nothing_else(tmp_path):
    probe = TraitProbe(TraitProbeSettings(traits=("jaw", "lips", "masc"), resolution=32, width=4)).eval()
    save_probe(probe, tmp_path / "probe.safetensors")
    judge, images = load_recogniser(tmp_path / "probe.safetensors"), torch.rand(4, 3, 32, 32, requires_grad=True)
    assert torch.allclose(judge(images), torch.nn.functional.normalize(probe(images), dim=1))
    judge(images)[:, 0].sum().backward()
    assert judge.differentiable and images.grad.abs().sum() > 0 and judge.name == "traits of probe.safetensors"
    assert len(judge.sha256) == 64 and judge.settings.traits == ("jaw", "lips", "masc")


def test_the_probe_survives_its_file(tmp_path):
    probe = TraitProbe(TraitProbeSettings(traits=("jaw", "lips"), width=4)).eval()
    save_probe(probe, tmp_path / "probe.safetensors")
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    again = load_probe(tmp_path / "probe.safetensors")
    assert again.settings.traits == ("jaw", "lips") and torch.equal(again(images), probe(images))
    assert again(torch.rand(2, 3, 128, 128)).shape == (2, 2)  # other sizes are resized
    with pytest.raises(ValueError, match="not a trait probe"):
        from torch_utils.checkpoint import save_checkpoint

        save_checkpoint(tmp_path / "other.safetensors", {"a": torch.ones(1)}, {"format": "x"})
        load_probe(tmp_path / "other.safetensors")
