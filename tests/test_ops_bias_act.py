"""Laws of bias_act: closed forms, homogeneity, clamping, derivatives to second order, clear errors."""

import math

import pytest
import torch

from torch_utils.ops.bias_act import ACTIVATIONS, bias_act

SQRT2 = math.sqrt(2)
CLOSED_FORMS = {  # with the usual alpha and gain, for a float x
    "linear": lambda x: x,
    "relu": lambda x: SQRT2 * max(x, 0.0),
    "lrelu": lambda x: SQRT2 * (x if x >= 0 else 0.2 * x),
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507009873554805 * (x if x >= 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "swish": lambda x: SQRT2 * x / (1 + math.exp(-x)),
}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_activation_has_a_closed_form():
    assert set(CLOSED_FORMS) == set(ACTIVATIONS)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_closed_form(act):
    x = torch.tensor([-3.0, -0.7, -1e-3, 0.0, 1e-3, 0.4, 2.5], dtype=torch.float64)
    wanted = torch.tensor([CLOSED_FORMS[act](float(v)) for v in x], dtype=torch.float64)
    torch.testing.assert_close(bias_act(x, act=act), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("dim", [0, 1, 3, -1])
def test_bias_gain_and_clamp_are_applied_in_this_order(act, dim):
    x = random(4, 4, 3, 4)
    b = random(4, seed=1)
    shape = [1] * 4
    shape[dim] = 4
    bare = bias_act(x + b.reshape(shape), act=act, gain=1)
    torch.testing.assert_close(bias_act(x, b, dim=dim, act=act, gain=1.7, clamp=0.9), (bare * 1.7).clamp(-0.9, 0.9))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_homogeneous_activations_let_a_gain_pass(act):
    x = random(100)
    passes = torch.allclose(bias_act(3 * x, act=act), 3 * bias_act(x, act=act), rtol=1e-12)
    assert passes == ACTIVATIONS[act].homogeneous


def test_alpha_is_the_slope_of_lrelu_only():
    x = random(50)
    torch.testing.assert_close(bias_act(x, act="lrelu", alpha=0.5, gain=1), torch.where(x < 0, x / 2, x))
    assert torch.equal(bias_act(x, act="elu", alpha=0.5), bias_act(x, act="elu"))


def test_clamp_zero_gives_zeros():
    assert torch.count_nonzero(bias_act(random(9), act="lrelu", clamp=0)) == 0


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("gain", [None, 0.3, -2.0])
def test_derivatives_to_second_order(act, gain):
    x, b = random(3, 4, 2).requires_grad_(), random(4, seed=1).requires_grad_()

    def function(x, b):
        return bias_act(x, b, act=act, gain=gain, clamp=1.1)

    assert torch.autograd.gradcheck(function, (x, b))
    assert torch.autograd.gradgradcheck(function, (x, b))


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("alpha", [None, 0.0, -0.3])
def test_input_is_left_alone(act, alpha):
    x = random(3, 4)
    before = x.clone()
    bias_act(x, act=act, alpha=alpha)
    bias_act(x, random(4), act=act, alpha=alpha)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_layout_follow_x(dtype):
    x = torch.randn(2, 3, 4, 4).to(dtype).contiguous(memory_format=torch.channels_last)
    y = bias_act(x, torch.randn(3), act="lrelu", clamp=2)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_errors_name_what_came_and_what_is_allowed():
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"'mish' is not known; allowed: linear, relu"):
        bias_act(x, act="mish")
    with pytest.raises(ValueError, match=r"bias of shape \[4\]; allowed: \[3\]"):
        bias_act(x, torch.zeros(4))
    with pytest.raises(ValueError, match=r"dim 4 does not exist in x of shape \[2, 3, 4, 4\]"):
        bias_act(x, torch.zeros(4), dim=4)
    with pytest.raises(ValueError, match=r"clamp is -1; allowed: None"):
        bias_act(x, clamp=-1)
