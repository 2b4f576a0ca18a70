"""Winograd's convolution is the convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from torch_utils.ops import winograd


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.booleans(),
       st.booleans())
def test_equal_to_the_library(n, i, o, rows, columns, last, single):
    draw = torch.Generator().manual_seed(n + 10 * i + 100 * o + 1000 * rows)
    dtype = torch.float32 if single else torch.float64
    x = torch.randn(n, i, 4 * rows, 4 * columns, generator=draw, dtype=torch.float64)
    w = torch.randn(o, i, 3, 3, generator=draw, dtype=torch.float64)
    given_x = x.to(dtype).contiguous(memory_format=torch.channels_last) if last else x.to(dtype)
    came = winograd.conv3x3(given_x, winograd.transform_weight(w.to(dtype)))
    assert came.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(came.double(), F.conv2d(x, w, padding=1), rtol=0, atol=1e-3 if single else 1e-11)


def test_strips_do_not_show(monkeypatch):
    x, w = torch.randn(1, 3, 16, 8, dtype=torch.float64), torch.randn(2, 3, 3, 3, dtype=torch.float64)
    whole = winograd.conv3x3(x, winograd.transform_weight(w))
    monkeypatch.setattr(winograd, "_TILES_AT_ONCE", 6)  # three rows of tiles, then one
    torch.testing.assert_close(winograd.conv3x3(x, winograd.transform_weight(w)), whole)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"weight of shape \[2, 3, 5, 5\]; allowed: \[O, I, 3, 3\]"):
        winograd.transform_weight(torch.zeros(2, 3, 5, 5))
    u = winograd.transform_weight(torch.zeros(2, 3, 3, 3))
    with pytest.raises(ValueError, match="multiples of 4"):
        winograd.conv3x3(torch.zeros(1, 3, 6, 8), u)
    with pytest.raises(ValueError, match="for 3 channels"):
        winograd.conv3x3(torch.zeros(1, 4, 8, 8), u)
