"""Writes ONNX graphs: codes ws -> picture and, for voice models, features -> codes; each checked in onnxruntime.

Both take any batch size, the encoder any number of frames. The synthesis scales activations by the styles instead of
building weights for every sample, so a batch runs as one ordinary convolution. Noise is the stored one; all in float32.
"""

import contextlib
import io
import json
import logging
import warnings

import torch

from torch_utils.random_streams import stream
from voice2style.pipeline import load

BATCHES = (1, 2, 5)
LIMIT = 1e-3  # largest deviation between torch and onnxruntime that a file may have
_EXPORT_BATCH, _EXPORT_FRAMES = 3, 97  # sizes that no layer has, so that they cannot be taken for constants
_CHECK_SECONDS = (0.3, 1.1, 2.7)


class SynthesisGraph(torch.nn.Module):
    """Codes ws [N, L, D] -> picture [N, C, H, W], about [-1, 1], stored noise."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, ws):
        return self.generator.synthesis(ws, noise_mode="const", force_fp32=True)


class EncoderGraph(torch.nn.Module):
    """Features [N, C, T] of whole clips -> codes ws [N, L, D] at psi 1."""

    def __init__(self, model):
        super().__init__()
        self.encoder = model.encoder
        self.register_buffer("mean", model.mean_codes().clone())

    def forward(self, features):
        return self.mean + self.encoder(features)


def files(bundle, dest):
    """Returns {what: path}: the synthesis at `dest`, the encoder of a voice model beside it."""
    paths = {"synthesis": dest}
    if bundle.encoder:
        paths["encoder"] = dest.with_name(f"{dest.stem}-encoder{dest.suffix}")
    return paths


def write(bundle, paths):
    """Writes and checks the graphs; returns notes. ValueError if a graph does not compute what torch does."""
    model = load(bundle.path, device="cpu")
    notes = [] if "D" not in bundle.settings else ["D and the training copy of G are not part of ONNX graphs"]
    card = json.dumps(bundle.card.to_dict(), sort_keys=True)
    ws = codes_for_a_check(model, _EXPORT_BATCH)
    graph = SynthesisGraph(model.generator)
    save_graph(graph, ws, paths["synthesis"], names=("ws", "image"), dynamic={0: "N"}, card=card)
    inputs = [codes_for_a_check(model, size) for size in BATCHES]
    notes.append(_verdict("synthesis", check(graph, paths["synthesis"], inputs)))
    if "encoder" in paths:
        graph = EncoderGraph(model)
        features = torch.zeros(_EXPORT_BATCH, model.frontend.num_features, _EXPORT_FRAMES)
        save_graph(graph, features, paths["encoder"], names=("features", "ws"), dynamic={0: "N", 2: "T"}, card=card)
        inputs = [features_for_a_check(model, size, seconds) for size, seconds in zip(BATCHES, _CHECK_SECONDS)]
        notes.append(_verdict("encoder", check(graph, paths["encoder"], inputs)))
    return notes


def save_graph(module, example, path, *, names, dynamic, card):
    """Exports a module of one input to one file; `dynamic` names the axes of the input that may have any size."""
    with torch.no_grad(), quiet():
        program = torch.onnx.export(module.eval(), (example,), dynamo=True, verbose=False, input_names=names[:1],
                                    output_names=names[1:], dynamic_shapes=(dynamic,))
        program.model.metadata_props["voice2style"] = card
        program.save(str(path), external_data=False)


@torch.no_grad()
def check(module, path, inputs):
    """Returns the largest deviation between torch and onnxruntime; ValueError beyond LIMIT or if the graph fails."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name, worst = session.get_inputs()[0].name, 0.0
    for x in inputs:
        (found,) = session.run(None, {name: x.numpy()})
        wanted = module(x).numpy()
        if found.shape != wanted.shape:
            raise ValueError(f"the ONNX graph gives {found.shape} for an input {tuple(x.shape)}, torch {wanted.shape}; "
                             "nothing was kept.")
        worst = max(worst, float(np.abs(found - wanted).max()))
        if not worst <= LIMIT:
            raise ValueError(f"the ONNX graph deviates from torch by {worst:.2g} for an input {tuple(x.shape)}, more "
                             f"than {LIMIT:g}; nothing was kept.")
    return worst


@torch.no_grad()
def codes_for_a_check(model, size):  # -> [N, L, D]
    """Returns codes as the mapping gives them, another one in every layer."""
    G = model.generator
    rows = size * G.num_ws
    z = torch.randn(rows, G.z_dim, generator=stream(0, "onnx", "codes", size))
    c = torch.eye(G.c_dim)[torch.arange(rows) % G.c_dim] if G.c_dim else None
    return G.mapping(z, c)[:, 0].reshape(size, G.num_ws, G.w_dim).contiguous()


@torch.no_grad()
def features_for_a_check(model, size, seconds):  # -> [N, C, T]
    """Returns the features of noise."""
    waves = torch.randn(size, round(seconds * model.sample_rate_hz), generator=stream(0, "onnx", "waves", size))
    return model.frontend(0.1 * waves).contiguous()


@contextlib.contextmanager
def quiet():
    """Keeps the exporter's progress lines and warnings about its own workings off the terminal."""
    level = logging.getLogger("onnxscript").level
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("onnxscript").setLevel(level)


def _verdict(what, deviation):
    sizes = ", ".join(map(str, BATCHES))
    return f"{what}: onnxruntime and torch agree to {deviation:.1e} in batches of {sizes}"
