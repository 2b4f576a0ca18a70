"""Pictures by OpenVINO (extra [openvino]), from the same ONNX graph that `convert.py --format onnx` writes."""

import pathlib
import tempfile

import torch

INSTALL = 'the OpenVINO backend needs two extras: pip install "voice2style[openvino,onnx]".'


class OpenVinoSynthesis:
    """Pictures [N, C, H, W] for codes ws [N, L, D], stored noise or none; compiled when it is made.

    precision: fp32, or bf16 as a hint that OpenVINO follows where the processor has it. The network is exported first,
    which takes some seconds. ValueError without the package, and for fresh noise, which the graph does not draw.
    """

    def __init__(self, model, *, precision="fp32", num_threads=None):
        try:
            import onnx  # noqa: F401 - the export needs it
            import openvino
        except ImportError:
            raise ValueError(INSTALL) from None
        from voice2style.writers.onnx_graphs import SynthesisGraph, codes_for_a_check, save_graph

        generator = model.generator
        self.num_ws, self.w_dim, self.precision = model.num_ws, model.w_dim, precision
        core = openvino.Core()
        hint = {"fp32": "f32", "bf16": "bf16"}[precision]
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint,
                    "INFERENCE_NUM_THREADS": num_threads or torch.get_num_threads()}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "synthesis.onnx"
            example = codes_for_a_check(model, 3).contiguous()
            save_graph(SynthesisGraph(generator), example, path, names=("ws", "image"), dynamic={0: "N"}, card="{}")
            self._compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def __call__(self, ws, noise_mode="const", force_fp32=False, generator=None):
        """Return pictures as `Synthesis.forward` does."""
        if noise_mode != "const":
            raise ValueError(f"noise_mode is {noise_mode!r}, but the OpenVINO backend draws stored noise; use "
                             "const, or --backend torch.")
        if force_fp32 and self.precision != "fp32":
            raise ValueError("force_fp32 with a graph of precision bf16; compile it in fp32.")
        found = self._compiled([ws.detach().float().cpu().contiguous().numpy()])[0]
        return torch.from_numpy(found).to(ws.device)
