"""The controller of ADA: where p goes, how fast, where it stops, and that it goes on where it was."""

import pytest
import torch

from training.ada import AdaController, AdaSettings
from training.augment import AugmentPipe


def controller(**wishes):
    return AdaController(AugmentPipe("bgc"), AdaSettings(**wishes))


def run(ada, logits, batches, batch_size=50):
    return [(ada.observe(logits), ada.update(batch_size))[1] for _ in range(batches)]


def test_p_goes_from_zero_to_its_bound_in_the_stated_number_of_images():
    ada = controller(ada_kimg=10, p_max=1.0)
    path = run(ada, torch.ones(50, 1), 200)  # 10 kimg
    assert path[:4] == [0, 0, 0, pytest.approx(50 * 4 / 10_000)]
    assert path[-1] == pytest.approx(1, abs=1e-5) and path == sorted(path)


def test_p_stops_at_its_bound_and_says_so():
    ada = controller(ada_kimg=1)
    assert not ada.at_bound
    assert run(ada, torch.ones(50, 1), 100)[-1] == pytest.approx(0.85) and ada.at_bound
    assert run(ada, -torch.ones(50, 1), 400)[-1] == 0 and not ada.at_bound


def test_the_sign_heuristic_compares_the_share_of_reals_seen_as_real():
    ada = controller(p=0.5, interval=1)
    eight_of_ten = torch.tensor([[1.0]] * 8 + [[-9.0]] * 2)  # mean sign 0.6: exactly the target, p stays
    assert run(ada, eight_of_ten, 3) == [0.5] * 3 and ada.heuristic == pytest.approx(0.6)
    assert run(ada, torch.tensor([[1.0]] * 9 + [[-9.0]]), 1)[0] > 0.5
    assert run(ada, torch.tensor([[100.0]] * 7 + [[-1.0]] * 3), 1)[0] == pytest.approx(0.5, abs=1e-6)  # down again


def test_parts_of_a_batch_count_like_the_batch():
    whole, parts = controller(ada_kimg=1, target=0.3), controller(ada_kimg=1, target=0.3)
    logits = torch.tensor([1.0, 1, 1, -1])[:, None]
    for _ in range(4):
        whole.observe(logits)
        parts.observe(logits[:3])
        parts.observe(logits[3:])
        assert whole.update(4) == parts.update(4)
    assert whole.heuristic == parts.heuristic == 0.5


def test_a_run_that_stopped_between_two_steps_of_p_goes_on_exactly():
    straight = controller(ada_kimg=2)
    signs = [torch.randn(8, 1, generator=torch.Generator().manual_seed(k)) + 0.7 for k in range(11)]
    for logits in signs[:6]:
        run(straight, logits, 1)
    resumed = controller(ada_kimg=2)
    resumed.restore(straight.state())
    for logits in signs[6:]:
        assert run(straight, logits, 1) == run(resumed, logits, 1)
    assert straight.state()["batches"] == resumed.state()["batches"] == 11


def test_fixed_and_none():
    fixed = controller(mode="fixed", p=0.3)
    assert run(fixed, torch.ones(8, 1), 9) == [pytest.approx(0.3)] * 9 and not fixed.at_bound
    assert run(controller(mode="noaug"), torch.ones(8, 1), 9) == [0.0] * 9
    fixed.restore(controller(mode="fixed", p=0.6).state())
    assert fixed.pipe.p.item() == pytest.approx(0.3)


@pytest.mark.parametrize(("wishes", "words"), [
    ({"mode": "adaptive"}, 'aug is "adaptive"; allowed: noaug, ada, fixed'),
    ({"p": 2.0}, "p is 2.0; allowed: 0 to 1"), ({"p_max": -0.1}, "p_max is -0.1"),
    ({"target": 1.0}, "target is 1.0; it is a mean of signs"), ({"interval": 0}, "interval is 0"),
    ({"p": 0.9}, "above its bound p_max 0.85"), ({"mode": "fixed"}, "a fixed p of 0 augments nothing")])
def test_settings_that_make_no_sense(wishes, words):
    with pytest.raises(ValueError, match=words):
        AdaSettings(**wishes)
