"""The allocator setting: made where it can be, left alone on request."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("wish, made", [("", sys.platform.startswith("linux")), ("system", False)])
def test_setting_and_opt_out(wish, made):
    code = "from torch_utils.allocator import keep_freed_memory; print(keep_freed_memory())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                            env={"V2S_ALLOCATOR": wish, "PATH": ""})
    assert result.stdout.strip() == str(made)
