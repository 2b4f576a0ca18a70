"""From a recording to the codes of its voice: read, keep the speech, hear it segment by segment, in bounded memory."""

import contextlib
import dataclasses
import os

import torch

SEGMENT_S = 60.0  # heard in one pass; a recording up to here is never cut
LEAST_SPEECH_S = 1.0  # below this the mean face is the honest answer
USUAL_SPEECH_S = 3.0  # clips of training have 3 to 8 s


@dataclasses.dataclass(frozen=True)
class Heard:
    """What a recording gave: codes [1, L, D] at psi 1, how much speech there was, and what its user should know."""

    codes: torch.Tensor
    speech_s: float
    recording_s: float
    is_mean: bool
    notes: tuple


class VoicePool:
    """Gathers speech and hears it in segments; memory does not grow with the recording.

    The encoder's sums over all segments add up, so the answer is that of one long pass, except that the gates
    of squeeze and excitation (and a front-end's normalisation over the clip) look at one segment at a time.
    Speech up to one and a half segments is heard in one pass: then the answer is exactly `model.codes(speech)`.
    """

    def __init__(self, model, *, segment_s=SEGMENT_S):
        self.model = model
        self.segment = max(1, round(segment_s * model.sample_rate_hz))
        self.waiting, self.num_waiting, self.num_samples = [], 0, 0
        self.total = self.count = None

    def add(self, samples):  # [S]
        """Takes more speech."""
        self.waiting.append(samples)
        self.num_waiting += len(samples)
        self.num_samples += len(samples)
        while self.num_waiting > 1.5 * self.segment:  # so that the last segment is never a snippet
            speech = torch.cat(self.waiting)
            self._hear(speech[:self.segment])
            self.waiting, self.num_waiting = [speech[self.segment:].clone()], len(speech) - self.segment

    def codes(self):  # -> [1, L, D]
        """Returns the codes of all speech taken so far; ends the pool."""
        if self.num_waiting:
            self._hear(torch.cat(self.waiting))
        self.waiting, self.num_waiting = [], 0
        return self.model.codes_of_pooled(self.total, self.count)

    def _hear(self, speech):
        total, count = self.model.pooled(speech)
        self.total = total if self.total is None else self.total + total
        self.count = count if self.count is None else self.count + count


@torch.inference_mode()
def listen(model, voice, *, vad="own", progress=None, segment_s=SEGMENT_S):
    """Returns what the model hears in a recording: a path, or samples [S] at its sample rate.

    Pauses are left out, as the detector `vad` finds them ("none" keeps them). With less than a second of speech
    the codes are the mean face's, and a note says why; with less than three a note says that it is little.
    `progress` is called with the seconds read, after each block. ValueError for a recording that cannot be used.
    """
    from voice2style.audio.voice_activity import speech_spans

    rate = model.sample_rate_hz
    recording_s, findings, blocks = _opened(voice, rate, segment_s)
    pool = VoicePool(model, segment_s=segment_s)
    for block in blocks:
        spans = [(0, len(block) / rate)] if vad == "none" else speech_spans(block, rate, detector=vad)
        for start_s, end_s in spans:
            pool.add(torch.from_numpy(block[round(start_s * rate):round(end_s * rate)]))
        if progress:
            progress(len(block) / rate)
    speech_s = pool.num_samples / rate
    is_mean = speech_s < LEAST_SPEECH_S
    reason = [_why_mean(speech_s, findings)] if is_mean else []
    if not is_mean and speech_s < USUAL_SPEECH_S:
        reason = [f"little speech: from under {USUAL_SPEECH_S:.0f} s a face is a rougher guess"]
    codes = model.mean_codes() if is_mean else pool.codes()
    return Heard(codes, speech_s, recording_s, is_mean, (*reason, *findings))


@contextlib.contextmanager
def progress_bar(path, *, stream=None):
    """Yields what `listen` wants as `progress`: a bar on stderr for a long recording, when a person is looking."""
    import sys

    import soundfile

    from voice2style.audio.decoding import native_name

    stream = stream or sys.stderr
    try:
        seconds = soundfile.info(native_name(path)).duration if stream.isatty() else 0
    except (soundfile.LibsndfileError, OSError):
        seconds = 0  # what is wrong with the file is said when it is read
    if seconds <= SEGMENT_S:
        yield None
        return
    import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]"
    with tqdm.tqdm(total=seconds, desc=os.path.basename(path), bar_format=form, leave=False, file=stream) as bar:
        yield bar.update


def _opened(voice, rate, segment_s):
    """Returns (seconds, findings, blocks of samples [S] float32) of a path or of samples."""
    if isinstance(voice, (str, os.PathLike)):
        from voice2style.audio import waveform

        blocks = waveform.blocks(voice, rate, segment_s)
        return blocks.seconds, tuple(blocks.findings), _without_snippets(blocks, round(segment_s * rate / 6))
    samples = torch.as_tensor(voice).detach().cpu()
    if samples.ndim != 1 or not samples.is_floating_point() or not len(samples):
        raise ValueError("a voice is a path or float samples [S] in [-1, 1] with S of 1 or more, "
                         f"got {samples.dtype} {tuple(samples.shape)}.")
    if not torch.isfinite(samples).all():
        raise ValueError(f"the voice has {int((~torch.isfinite(samples)).sum())} samples that are NaN or infinite.")
    parts = samples.float().split(round(segment_s * rate))
    return len(samples) / rate, (), _without_snippets((part.numpy() for part in parts), round(segment_s * rate / 6))


def _without_snippets(blocks, least):
    """Yields blocks, the last one joined to the one before it when it is shorter than `least` samples."""
    import numpy as np

    held = None
    for block in blocks:
        if held is not None and len(block) >= least:
            yield held
            held = None
        held = block if held is None else np.concatenate([held, block])
    if held is not None:
        yield held


def _why_mean(speech_s, findings):
    """Returns the note on a recording with too little speech."""
    if any(finding.startswith("silence") for finding in findings):
        return "the mean face is drawn, because there is nothing to hear"
    found = "no speech was found" if speech_s == 0 else f"only {speech_s:.1f} s of speech were found"
    return f"the mean face is drawn, because {found}, under {LEAST_SPEECH_S:.0f} s"
