"""Speaker recognisers by file, the same seam as for faces: waves in, points on a sphere out.

    judge = load_speaker("speaker.onnx")
    embeddings = judge(waves)  # [N, S] in [-1, 1] at judge.sample_rate_hz -> [N, K], of unit length
"""

import pathlib

from metrics.judges.onnx_session import OnnxNetwork, is_fixed
from metrics.judges.package_judges import SPEAKERS
from metrics.judges.people_sphere import restored
from metrics.judges.speaker_network import SpeakerRecogniser, SpeakerRecogniserSettings, check_waves, fitted
from torch_utils.checkpoint import load_checkpoint

SAMPLE_RATE_HZ = 16000


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
        waves = check_waves(waves)
        self.refuse_gradient(waves)
        waves = fitted(waves, self.num_samples)
        return self.embed(waves[:, None] if self._planes else waves)


def load_speaker(path, device="cpu"):
    """Returns the speaker recogniser of a file, our own (.safetensors) or anybody's (.onnx), or of a package by name.

    ValueError when the file is something else, or the package is not installed.
    """
    if str(path) in SPEAKERS:
        return SPEAKERS[str(path)](device)
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'no such speaker recogniser: "{path}"; give an .onnx file, a .safetensors file that '
                         f"train.py --task speaker made, or a package: {', '.join(SPEAKERS)}.")
    if path.suffix.lower() == ".onnx":
        return OnnxSpeaker(path, device=device)
    tensors, card = load_checkpoint(path)
    if not isinstance(card, dict) or card.get("format") != SpeakerRecogniser.KIND:
        raise ValueError(f'"{path}" is not a speaker recogniser; make one with train.py --task speaker, '
                         "or give an .onnx file.")
    return restored(SpeakerRecogniser, SpeakerRecogniserSettings, path, tensors, card).to(device)
