"""Speaker recognisers by file, the same seam as for faces: waves in, points on a sphere out.

    judge = load_speaker("speaker.onnx")
    embeddings = judge(waves)  # [N, S] in [-1, 1] at judge.sample_rate_hz -> [N, K], of unit length
"""

import pathlib

import torch

from metrics.judges.onnx_session import OnnxNetwork, is_fixed

SAMPLE_RATE_HZ = 16000
LEAST_SAMPLES = 400


class OnnxSpeaker(OnnxNetwork):
    """A speaker recogniser in an ONNX file, run by onnxruntime; gradients do not reach the waves.

    The graph has one input, waves [N, S] or [N, 1, S] in [-1, 1], and its first output is [N, K]. A fixed S is filled
    by repeating a shorter wave and cutting a longer one in the middle. The metadata may say `sample_rate_hz` (16000).
    """

    def __init__(self, path, *, device="cpu"):
        super().__init__(path, device=device, at_once=16)
        self._planes = len(self.shape) == 3
        if len(self.shape) not in (2, 3) or (self._planes and self.shape[1] != 1):
            raise ValueError(f'"{path}" takes {self.shape or "several inputs"}; a speaker recogniser takes one input, '
                             "waves [N, S] or [N, 1, S].")
        self.num_samples = self.shape[-1] if is_fixed(self.shape[-1]) else None
        told = self.told.get("sample_rate_hz", str(SAMPLE_RATE_HZ))
        if not told.isdecimal() or int(told) < 1:
            raise ValueError(f'the metadata of "{path}" says sample_rate_hz = "{told}"; a whole number is needed.')
        self.sample_rate_hz = int(told)

    def __call__(self, waves):  # [N, S] -> [N, K] of unit length
        """Returns the embeddings; ValueError for waves of another form, or when gradients are wanted."""
        waves = torch.as_tensor(waves)
        if waves.ndim != 2 or not waves.is_floating_point() or waves.shape[1] < LEAST_SAMPLES:
            raise ValueError(f"a speaker recogniser takes float waves [N, S] in [-1, 1] with S of {LEAST_SAMPLES} or "
                             f"more, got {waves.dtype} {tuple(waves.shape)}.")
        self.refuse_gradient(waves)
        waves = fitted(waves, self.num_samples)
        return self.embed(waves[:, None] if self._planes else waves)


def fitted(waves, num_samples):  # [N, S] -> [N, num_samples]
    """Returns waves of a length: short ones repeated, long ones cut to their middle; None leaves them."""
    if num_samples is None or waves.shape[1] == num_samples:
        return waves
    if waves.shape[1] < num_samples:
        return waves.repeat(1, -(-num_samples // waves.shape[1]))[:, :num_samples]
    start = (waves.shape[1] - num_samples) // 2
    return waves[:, start:start + num_samples]


def load_speaker(path, device="cpu"):
    """Returns the speaker recogniser of an .onnx file; ValueError when the file is something else."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'no such speaker recogniser: "{path}"; give an .onnx file.')
    if path.suffix.lower() != ".onnx":
        raise ValueError(f'"{path}" is not an .onnx file; speaker recognisers are read from ONNX here.')
    return OnnxSpeaker(path, device=device)
