"""One contestant of a benchmark in a process of its own: builds its network once, then runs when it is told to.

`python -m benchmarks.contestant SPEC` reads lines from stdin ("ready", "run", "save PATH") and answers each with a line
of JSON. A process of its own gives every contestant its own allocator setting, peak memory and thread pool.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Spec:
    """Who runs what. kind: ours, ref, compile, onnxruntime, openvino, convolution or copy; task: infer or train."""

    name: str
    kind: str
    task: str = "infer"
    precision: str = "fp32"
    allocator: bool = True
    threads: int = 1
    resolution: int = 256
    channel_base: int = 16384
    channel_max: int = 512
    batch: int = 1
    onnx: str | None = None
    grouped: bool = True


class Contestant:
    """A running contestant, seen from the benchmark."""

    def __init__(self, spec):
        self.spec = spec
        environment = {**os.environ, "OMP_NUM_THREADS": str(spec.threads), "OMP_WAIT_POLICY": "PASSIVE",
                       "V2S_ALLOCATOR": "" if spec.allocator else "system"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestant", json.dumps(dataclasses.asdict(spec))], cwd=HERE, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        self.ask("ready")

    def ask(self, line):
        """Returns the answer to one line; RuntimeError with the contestant's last words if it died."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.spec.name} ended: {self._process.stderr.read()[-600:]}")
        return json.loads(answer)

    def close(self):
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()


def networks(spec):
    """Returns (G, D) with weights that depend on the sizes alone; noise strengths are not zero."""
    import torch

    from voice2style.discriminator import Discriminator, DiscriminatorSettings
    from voice2style.generators.stylegan2 import Generator, GeneratorSettings, channel_table

    torch.manual_seed(0)
    channels = channel_table(spec.resolution, spec.channel_base, spec.channel_max)
    G = Generator(GeneratorSettings(img_resolution=spec.resolution, channels=channels))
    D = Discriminator(DiscriminatorSettings(img_resolution=spec.resolution, channels=channels)) \
        if spec.task == "train" else None
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.1)
    return G, D


def export(spec, path):
    """Writes the contestant's network as the ONNX graph of convert.py."""
    import types

    from voice2style.writers.onnx_graphs import SynthesisGraph, codes_for_a_check, save_graph

    G, _ = networks(spec)
    model = types.SimpleNamespace(generator=G.eval().requires_grad_(False))
    save_graph(SynthesisGraph(G), codes_for_a_check(model, 3), path, names=("ws", "image"), dynamic={0: "N"}, card="{}")


def runner(spec):
    """Returns a function that does the work once and returns what it made (a tensor or array)."""
    import torch

    if spec.kind == "convolution":
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[spec.precision]
        x = torch.ones(1, 256, 128, 128, dtype=dtype).to(memory_format=torch.channels_last)
        weight = torch.ones(256, 256, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
        return lambda: torch.nn.functional.conv2d(x, weight, padding=1)
    if spec.kind == "copy":
        source, target = torch.ones(2, 1 << 26)
        return lambda: target.copy_(source)
    return (_trainer if spec.task == "train" else _drawer)(spec)


def flop_of_reference(kind):
    """Returns the arithmetic of the machine's own convolution (2 a multiply-add), or the bytes of its copy."""
    return 2 * 9 * 256 * 256 * 128 * 128 if kind == "convolution" else 2 * 4 * (1 << 26)


def _drawer(spec):
    import torch

    G, _ = networks(spec)
    G.eval().requires_grad_(False)
    ws = G.mapping(torch.randn(spec.batch, G.z_dim, generator=torch.Generator().manual_seed(1)))
    if spec.onnx:
        del G  # the graph has the weights
    if spec.kind == "ours":
        from voice2style.generators.fast_stylegan2 import FastSynthesis

        plan = FastSynthesis(G.synthesis, precision=spec.precision)
        return lambda: plan(ws, "const")
    if spec.kind in ("ref", "compile"):
        from benchmarks.published_recipe import PublishedSynthesis

        network = PublishedSynthesis(G.synthesis)
        network = torch.compile(network) if spec.kind == "compile" else network
        return lambda: network(ws)
    if spec.kind == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec.threads
        session = onnxruntime.InferenceSession(spec.onnx, options, providers=["CPUExecutionProvider"])
        codes = ws.numpy()
        return lambda: session.run(None, {"ws": codes})[0]
    import openvino

    hint = {"fp32": "f32", "bf16": "bf16"}[spec.precision]
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(spec.onnx), "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": spec.threads, "INFERENCE_PRECISION_HINT": hint})
    codes = ws.numpy()
    return lambda: compiled([codes])[0]


def _trainer(spec):
    import torch

    from benchmarks.iteration import Iteration
    from benchmarks.published_recipe import PublishedDiscriminator, PublishedSynthesis
    from torch_utils.ops import build

    G, D = networks(spec)
    if spec.kind == "ours":
        build.prepare("simd")  # as train.py does
        G, D = (network.to(memory_format=torch.channels_last) for network in (G, D))
        synthesis, score = (lambda ws: G.synthesis(ws, noise_mode="random")), D
        score_both = lambda fakes, reals: D(torch.cat([fakes, reals]), batches=2).chunk(2)  # noqa: E731, as in training
    else:
        published = PublishedSynthesis(G.synthesis, grouped=spec.grouped)
        synthesis, score = (lambda ws: published(ws, "random")), PublishedDiscriminator(D)
        score_both = None
    iteration = Iteration(G, D, mapping=G.mapping, synthesis=synthesis, score=score, score_both=score_both,
                          batch=spec.batch, bf16=spec.precision == "bf16", fused=spec.kind == "ours")
    return iteration.period


def _peak_gb():
    """Returns the most memory this process held. ru_maxrss would count the parent's from before the exec as well."""
    status = pathlib.Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def main():
    """Answers lines until stdin ends."""
    spec = Spec(**json.loads(sys.argv[1]))
    from torch_utils.allocator import keep_freed_memory

    keep_freed_memory()
    import numpy as np
    import torch

    torch.set_num_threads(spec.threads)
    run, imported_gb = None, _peak_gb()
    for line in sys.stdin:
        word, _, path = line.strip().partition(" ")
        answer = {}
        with torch.inference_mode(spec.task == "infer"):
            if word == "ready":
                run = runner(spec)
            elif word == "save":
                made = run() if spec.task == "infer" else run(step=False)["gradient"]
                np.save(path, np.asarray(made, dtype=np.float32))
            else:
                begin, busy = time.perf_counter(), time.process_time()
                made = run()
                answer.update(seconds=time.perf_counter() - begin, cpu_seconds=time.process_time() - busy)
                if spec.task == "train":
                    answer.update(seconds=made["seconds"], phases=made["phases"])
        answer["peak_gb"] = _peak_gb()
        answer["peak_beyond_torch_gb"] = answer["peak_gb"] - imported_gb
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
