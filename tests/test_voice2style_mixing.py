"""Laws of style mixing: which layers come from where."""

import pytest
import torch

from voice2style.mixing import checked_styles, mix


def test_styles_come_from_the_column_and_the_rest_from_the_row():
    row, col = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    kept = row.clone()
    mixed = mix(row, col, (0, 1, 5))
    assert torch.equal(mixed[:, [0, 1, 5]], col[:, [0, 1, 5]]) and torch.equal(mixed[:, 2:5], row[:, 2:5])
    assert torch.equal(row, kept)
    assert torch.equal(mix(row, col, range(6)), col) and torch.equal(mix(row, row, (1,)), row)
    assert torch.equal(mix(mixed, row, (0, 1, 5)), row)


def test_the_usual_styles_and_those_of_small_networks(capsys):
    assert checked_styles(None, 18) == checked_styles(None, 8) == tuple(range(7))
    assert not capsys.readouterr().err
    assert checked_styles(None, 6) == (0, 1, 2) and "0-2 here instead of 0-6" in capsys.readouterr().err
    assert checked_styles(None, 1) == (0,) and "one style layer" in capsys.readouterr().err
    assert checked_styles([3, 1, 3], 6) == (3, 1)


@pytest.mark.parametrize("styles, told", [([0, 6, 9], "has 6, 9; .* 6 style layers, allowed: 0-5"), ([], "no layer")])
def test_styles_that_the_network_has_not_got(styles, told):
    with pytest.raises(ValueError, match=told):
        checked_styles(styles, 6)
