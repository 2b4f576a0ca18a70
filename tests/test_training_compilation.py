"""torch.compile in the main phases: the numbers stay; where it cannot, the plain call goes on and a line says so."""

import copy
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import torch

from torch_utils.ops.bias_act import bias_act
from training.compilation import Compiled, compile_main_phases
from training.gan_loop import build_networks
from training.gan_step import GanStep
from training.phases import Batch, Draw
from training.settings import GanSettings

COMPILE = torch.compile
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")


@pytest.mark.parametrize("laws", [
    pytest.param(["product_with_bias_and_gain"], marks=needs_compiler), ["main_phases", "refusal"]])
def test_compiled(laws):
    # A process of its own: after torch.compile, the forked ranks of other tests could not differentiate any more.
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run([sys.executable, __file__, *laws], cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def product_with_bias_and_gain():
    """A product of matrices with bias and gain is the same when it is compiled."""
    def layer(x, w, b):
        return bias_act(x @ w, b, act="lrelu")

    x, w, b = (torch.randn(size, generator=torch.Generator().manual_seed(0)) for size in ([4, 6], [6, 3], [3]))
    torch.testing.assert_close(torch.compile(layer)(x, w, b), layer(x, w, b))


def main_phases():
    """Main phases by traced graphs give the same gradients."""
    settings = GanSettings(channels=(4, 4), z_dim=4, w_dim=4, mapping_layers=1, batch=2, mbstd_group=2)
    generator, discriminator = build_networks(settings)
    step = GanStep(generator, discriminator, copy.deepcopy(generator), settings)
    images = torch.randn([2, 3, 8, 8], generator=torch.Generator().manual_seed(0))
    batch, said = Batch(2, torch.arange(2), images=images), []

    def gradients():
        for network in (generator, discriminator):
            network.zero_grad()
        loss, _ = step._g_main(batch, Draw(0, "Gmain", 0))
        loss.backward()
        return loss, [p.grad for network in (generator, discriminator) for p in network.parameters()]

    plain = gradients()
    # Without the code generator, which takes a minute for this.
    torch.compile = lambda call: COMPILE(call, backend="eager")
    compile_main_phases(step, said.append)
    torch.testing.assert_close(gradients(), plain)
    assert said == [] and set(step.main_calls) == {"G", "D"}


def refusal():
    """Where torch.compile cannot, the plain call goes on, and a line says so once."""
    def refuses(graph, inputs):
        raise RuntimeError("no compiler here")

    said = []
    torch.compile = lambda call: COMPILE(call, backend=refuses)
    call = Compiled(lambda x: x * 2 + 1, "G", said.append)
    assert call(torch.ones(2)).tolist() == [3, 3] and call(torch.zeros(2)).tolist() == [1, 1]
    assert len(said) == 1 and said[0].startswith("Warning: --compile has no effect on G: torch.compile cannot (")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        {law.__name__: law for law in (product_with_bias_and_gain, main_phases, refusal)}[name]()
