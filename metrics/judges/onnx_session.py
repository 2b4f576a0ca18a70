"""An ONNX file as a judge: one input, one table of embeddings out, by onnxruntime; or one sentence on what is wrong."""

import pathlib

import torch
import torch.nn.functional as F

from dnnlib.files import sha256_file


class OnnxNetwork:
    """A graph with one input whose first output is [N, K]; a fixed batch is filled up, gradients do not pass.

    `shape` is the input's, with names or None where it is free; `told` the file's metadata.
    """

    differentiable = False

    def __init__(self, path, *, device="cpu", at_once=64):
        self.name, self.sha256 = pathlib.Path(path).name, sha256_file(path)
        self._session = open_session(path, device)
        inputs = self._session.get_inputs()
        self.shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
        self._input, self._at_once = inputs[0].name, at_once
        self._batch = self.shape[0] if self.shape and is_fixed(self.shape[0]) else None
        self.told = self._session.get_modelmeta().custom_metadata_map

    def embed(self, rows):  # [N, ...] -> [N, K] of unit length, on the rows' device
        """Returns the embeddings of rows in the form that the graph wants."""
        whole = rows.detach().float().cpu().contiguous()
        found = torch.cat([self._run(part) for part in whole.split(self._batch or self._at_once)])
        return F.normalize(found.float(), dim=1).to(rows.device)

    def refuse_gradient(self, rows, advice=""):
        """Raises ValueError when somebody wants gradients of these rows."""
        if rows.requires_grad and torch.is_grad_enabled():
            raise ValueError(f'"{self.name}" is an ONNX file, so no gradient reaches its input{advice}.')

    def _run(self, part):
        missing = (self._batch or 0) - len(part)
        if missing > 0:
            part = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
        (found, *_) = self._session.run(None, {self._input: part.numpy()})
        if found.ndim != 2:
            raise ValueError(f'"{self.name}" gives {found.shape}; the first output of a recogniser is [N, K].')
        return torch.from_numpy(found)[:len(part) - max(0, missing)]


def is_fixed(size):
    """Returns True for a dimension of a graph that is a number."""
    return isinstance(size, int) and size > 0


def open_session(path, device):
    """Returns an InferenceSession; ValueError without onnxruntime, or for a file that is no graph."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise ValueError(f'"{path}" is an ONNX file; reading it needs onnxruntime: pip install "voice2style[onnx]".'
                         ) from error
    wants_gpu = str(device).startswith("cuda")
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
                 if name in onnxruntime.get_available_providers() and (wants_gpu or "CUDA" not in name)]
    problems = (state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NoSuchFile,
                state.NotImplemented)
    try:
        return onnxruntime.InferenceSession(str(path), providers=providers)
    except problems as error:
        raise ValueError(f'"{path}" is not an ONNX file that can be run ({str(error).splitlines()[0][:160]}).'
                         ) from error
