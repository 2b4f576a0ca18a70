"""torch.compile for the networks of the main phases, with the plain call in its place from the first failure on."""

import torch


def compile_main_phases(step, say):
    """Has torch.compile make the calls in `step.main_calls`, {network: call}, faster; `say` hears when it cannot."""
    for name, call in step.main_calls.items():
        step.main_calls[name] = Compiled(call, name, say)


class Compiled:
    """Calls what torch.compile made of `call`; `say(line)` hears once when it cannot, and the plain call goes on.

    Path length and R1 differentiate twice, which torch.compile cannot: they call the networks themselves.
    """

    def __init__(self, call, name, say):
        self._plain, self._fast, self._name, self._say = call, torch.compile(call), name, say

    def __call__(self, *args, **named):
        if self._fast is not None:
            try:
                return self._fast(*args, **named)
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
                self._fast = None
                self._say(f"Warning: --compile has no effect on {self._name}: torch.compile cannot ({reason[:160]}).")
        return self._plain(*args, **named)
