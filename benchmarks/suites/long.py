"""Long recordings: peak memory and speed."""

import pathlib
import resource
import tempfile
import time

from benchmarks.processes import HELLO, process


def suite_long(_rounds):
    """Peak memory of a face from a recording of one hour."""
    import numpy as np
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        samples, rate_hz = soundfile.read(HELLO, dtype="int16")
        path = pathlib.Path(folder) / "hour.wav"
        with soundfile.SoundFile(path, "w", rate_hz, 1) as file:
            for _ in range(60):
                file.write(np.resize(samples, 60 * rate_hz))
        begin = time.perf_counter()
        process("generate.py", "--wav", str(path), "--outdir", f"{folder}/out")
        seconds = time.perf_counter() - begin
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return [{"work": "face from a recording of one hour", "ours_s": seconds, "peak_gb": peak_gb,
             "reference": "real time", "reference_s": 3600.0, "ratio": 3600 / seconds,
             "target": "peak under 1.5 GB", "met": peak_gb < 1.5}]
