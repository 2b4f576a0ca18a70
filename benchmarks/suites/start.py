"""Start-up: whole processes, and what the modules that generate.py imports cost."""

import os
import subprocess
import sys
import tempfile

from benchmarks.measuring import interleaved, row
from benchmarks.processes import HERE, process, six_seconds

NEVER = ("librosa", "numba", "torchvision", "matplotlib", "scipy.signal", "lpips", "cleanfid", "sklearn", "onnx",
         "openvino", "flask", "training", "metrics")


def suite_start(rounds):
    """Whole processes: a face from a clip of 6 s, beside the bare import of PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        clip = six_seconds(folder)
        seconds = interleaved({
            "generate.py --wav": lambda: process("generate.py", "--wav", str(clip), "--outdir", f"{folder}/out"),
            "import torch": lambda: process("-c", "import torch")}, rounds)
    result = row("face from a 6 s clip, whole process", seconds, "generate.py --wav", "import torch", None)
    limit = 2.5 * result["reference_s"] + 1
    result = {**result, "target": f"at most 2.5 × import torch + 1 s = {limit:.2f} s", "met": result["ours_s"] <= limit}
    return [result, _budget()]


def _budget():
    """Returns what `python -X importtime` says about drawing one seed: our modules, all, and what must not be there."""
    code = "import sys; sys.argv = ['generate.py', '--seeds', '0', '--outdir', sys.argv[1]]; import runpy; " \
           "runpy.run_path('generate.py', run_name='__main__')"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-X", "importtime", "-c", code, folder]
        result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE,
                                env={**os.environ, "PYTHONPATH": str(HERE)})
    own, total, foreign = 0.0, 0.0, set()
    for line in result.stderr.splitlines():
        if not line.startswith("import time:") or "|" not in line or "self" in line:
            continue
        microseconds, _, name = (part.strip() for part in line[len("import time:"):].split("|"))
        total += int(microseconds) / 1e6
        if name.split(".")[0] in ("voice2style", "torch_utils", "dnnlib"):
            own += int(microseconds) / 1e6
        foreign |= {each for each in NEVER if name == each or name.startswith(f"{each}.")}
    return {"work": "imports of generate.py --seeds, own modules", "ours_s": own, "reference": "all imports",
            "reference_s": total, "ratio": total / own, "unwanted": sorted(foreign),
            "target": "own under 0.3 s, nothing unused", "met": own < 0.3 and not foreign}
