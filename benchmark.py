"""Measures speed and memory as ratios within one run: start-up, audio, long recordings, drawn world, loading."""

import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import click

from dnnlib.command_line import Door
from dnnlib.console import say, table
from dnnlib.files import atomic_path

HERE = pathlib.Path(__file__).parent
HELLO = HERE / "voice2style" / "demo" / "hello.wav"


def interleaved(contestants, rounds):
    """Returns name -> seconds of every round; contestants take turns (A B A B), after one unmeasured round."""
    seconds = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            begin = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def row(work, seconds, ours, reference, target):
    """Returns one result: medians, ranges, and the ratio reference / ours."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {"work": work, "ours_s": middle[ours], "ours_range_s": [min(seconds[ours]), max(seconds[ours])],
            "reference": reference, "reference_s": middle[reference],
            "reference_range_s": [min(seconds[reference]), max(seconds[reference])],
            "ratio": middle[reference] / middle[ours], "target": target}


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


def suite_start(rounds):
    """Whole processes: a face from a clip of 6 s, beside the bare import of PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        clip = six_seconds(folder)
        seconds = interleaved({
            "generate.py --wav": lambda: process("generate.py", "--wav", str(clip), "--outdir", f"{folder}/out"),
            "import torch": lambda: process("-c", "import torch")}, rounds)
    result = row("face from a 6 s clip, whole process", seconds, "generate.py --wav", "import torch", None)
    limit = 2.5 * result["reference_s"] + 1
    return [{**result, "target": f"at most 2.5 × import torch + 1 s = {limit:.2f} s", "met": result["ours_s"] <= limit}]


def suite_audio(rounds):
    """MFCC with Δ and ΔΔ on one thread, beside librosa's feature.mfcc and two feature.delta, one clip and 64."""
    import librosa
    import numpy as np
    import torch

    from voice2style.audio import AudioSettings, FrontEnd

    frontend = FrontEnd(AudioSettings())
    waves = np.random.default_rng(0).standard_normal([64, 6 * 16000]).astype(np.float32) * 0.1
    tensor = torch.from_numpy(waves)

    def librosa_one(wave):
        static = librosa.feature.mfcc(y=wave, sr=16000, n_mfcc=40, n_mels=64, n_fft=512, hop_length=200,
                                      win_length=400, window="hamming", htk=True, center=False)
        return np.stack([static, librosa.feature.delta(static, width=5, mode="nearest"),
                         librosa.feature.delta(static, width=5, mode="nearest", order=2)])

    def ours(batch):
        with torch.inference_mode():
            frontend(batch)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = [row(f"MFCC+Δ+ΔΔ of {count} × 6 s", interleaved(
        {"ours": lambda n=count: ours(tensor[:n]), "librosa": lambda n=count: [librosa_one(w) for w in waves[:n]]},
        rounds * (20 if count == 1 else 1)), "ours", "librosa", "faster than librosa") for count in (1, 64)]
    torch.set_num_threads(threads)
    return [{**result, "met": result["ratio"] > 1} for result in results]


def suite_memory(_rounds):
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


def suite_world(rounds):
    """The drawn world on one core: faces of 64² a second, speech against real time."""
    import torch

    from voice2style.demo.world import World

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    world = World(seed=0)
    people = world.people(range(512))
    faces = interleaved({"faces": lambda: world.faces(people, 0, 64)}, rounds)["faces"]
    voices = interleaved({"voices": lambda: [world.voice(person, 0, 5.0) for person in range(8)]}, rounds)["voices"]
    torch.set_num_threads(threads)
    face_rate, speech_rate = 512 / statistics.median(faces), 40 / statistics.median(voices)
    return [{"work": "drawn faces at 64², one core", "ours_s": 1 / face_rate, "reference": "1 s", "reference_s": 1.0,
             "ratio": face_rate, "target": "300 faces/s", "met": face_rate >= 300},
            {"work": "synthesised speech, one core", "ours_s": 1 / speech_rate, "reference": "real time",
             "reference_s": 1.0, "ratio": speech_rate, "target": "50 × real time", "met": speech_rate >= 50}]


def suite_load(rounds):
    """Loading a 1024² generator from our file, beside torch.load of the same tensors."""
    import torch

    from dnnlib.settings import to_dict
    from torch_utils.checkpoint import save_checkpoint
    from voice2style.card import Card, Part
    from voice2style.generators.stylegan2 import Generator, GeneratorSettings, channel_table
    from voice2style.networks import load_networks

    with tempfile.TemporaryDirectory() as folder:
        generator = Generator(GeneratorSettings(img_resolution=1024, channels=channel_table(1024)))
        ours, plain = f"{folder}/net.safetensors", f"{folder}/net.pt"
        state = generator.state_dict()
        save_checkpoint(ours, {f"G_ema.{name}": tensor for name, tensor in state.items()},
                        Card(generator=Part("stylegan2", to_dict(generator.settings))).to_dict())
        torch.save(state, plain)
        seconds = interleaved({"load_networks": lambda: load_networks(ours),
                               "torch.load": lambda: torch.load(plain, weights_only=True)}, rounds)
    result = row("generator of 1024² from a file", seconds, "load_networks", "torch.load", "at most 1.5 × torch.load")
    return [{**result, "met": result["ratio"] >= 1 / 1.5}]


SUITES = {"start": suite_start, "audio": suite_audio, "memory": suite_memory, "world": suite_world, "load": suite_load}


def machine():
    """Returns what the numbers were measured on."""
    import numpy
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE)
    model = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown")
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": torch.get_num_threads(), "python": platform.python_version(), "torch": torch.__version__,
            "numpy": numpy.__version__, "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "commit": commit.stdout.strip() or None, "date": time.strftime("%Y-%m-%d")}


def _cpu_lines():
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


@click.command(cls=Door)
@click.option("--suite", type=click.Choice([*SUITES, "all"]), default="all", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Measured rounds of each.")
@click.option("--dest", help="Write the results as JSON to this file.")
def main(suite, rounds, dest):
    """Measure speed and memory on this machine; ratios are taken within the run."""
    facts = machine()
    say("  ".join(f"{name}: {value}" for name, value in facts.items() if value is not None))
    results = []
    for name in SUITES if suite == "all" else [suite]:
        say(f"{name}: {SUITES[name].__doc__}")
        results += SUITES[name](rounds)
    say(table([(item["work"], f"{item['ours_s']:.4g} s", item["reference"], f"{item['reference_s']:.4g} s",
                f"{item['ratio']:.2f}", item["target"] or "", {True: "yes", False: "NO"}.get(item.get("met"), ""),
                f"{item['peak_gb']:.2f} GB" if "peak_gb" in item else "") for item in results],
              ["work", "ours", "reference", "reference time", "reference / ours", "target", "met", "peak"]))
    if dest:
        with atomic_path(dest) as temporary:
            temporary.write_text(json.dumps({"machine": facts, "rounds": rounds, "results": results}, indent=2))
        say(f"Written to {dest}")


if __name__ == "__main__":
    main()
