"""Whole processes and the clips they are given: what the suites on start-up and on long recordings share."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parents[1]
HELLO = HERE / "voice2style" / "demo" / "hello.wav"


def process(*arguments):
    """Runs a Python process quietly; stops the benchmark when it fails."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=HERE)


def six_seconds(folder):
    """Returns the path of a clip of 6 s made of the demo voice."""
    import numpy as np
    import soundfile

    samples, rate_hz = soundfile.read(HELLO)
    path = pathlib.Path(folder) / "six.wav"
    soundfile.write(path, np.resize(samples, 6 * rate_hz), rate_hz)
    return path
