"""Makes a dataset's clip of a recording: mono, 16 kHz, measured, written as FLAC or WAV; or refused with a reason."""

import dataclasses
import io

import numpy as np

from training.datasets.items import Unusable
from training.datasets.loudness import clipped_share, loudness_lufs, snr_db

SAMPLE_RATE_HZ = 16000
AUDIO_FORMATS = ("flac", "wav")
DETECTORS = ("own", "silero", "none")
_SILENT_LUFS = -60.0
_VAD_BLOCK_S = 60.0
_MAX_FEATURES = 64 << 20
_HQ_BANDS = 40


@dataclasses.dataclass(frozen=True)
class VoiceSettings:
    """How clips are made. Recordings are not cut at pauses: `vad` only writes down where speech is."""

    min_seconds: float = 1.0
    max_seconds: float = 600.0
    min_speech: float = 0.3
    vad: str = "own"
    audio: str = "flac"

    def check(self):
        """Raises ValueError for settings that no clip can obey."""
        if not 0 < self.min_seconds <= self.max_seconds <= 3600:
            raise ValueError(f"--min-seconds {self.min_seconds:g} --max-seconds {self.max_seconds:g}: give "
                             "0 < min <= max <= 3600.")
        if not 0 <= self.min_speech <= self.max_seconds:
            raise ValueError(f"--min-speech {self.min_speech:g}: 0 to --max-seconds is possible.")
        for name, value, known in (("--vad", self.vad, DETECTORS), ("--audio", self.audio, AUDIO_FORMATS)):
            if value not in known:
                raise ValueError(f'{name} is "{value}"; {", ".join(known)} are known.')
        if self.vad == "silero":
            import importlib.util

            if importlib.util.find_spec("silero_vad") is None:
                raise ValueError("--vad silero needs the package silero-vad: pip install 'voice2style[vad]'.")


def build_voice(path, item, settings):  # path of a file, Item -> bytes, fields of its row
    """The clip of an item as it goes into the dataset. Unusable with the reason if it does not."""
    samples, findings = _read(path, item, settings)
    seconds = len(samples) / SAMPLE_RATE_HZ
    if seconds < settings.min_seconds:
        raise Unusable(f"too short: {seconds:.2f} s, {settings.min_seconds:g} s are needed")
    loudness = loudness_lufs(samples, SAMPLE_RATE_HZ)
    if loudness <= _SILENT_LUFS or any(text.startswith("silence") for text in findings):
        raise Unusable(f"silent: {loudness:.0f} LUFS")
    spans = None if settings.vad == "none" else find_speech(samples, settings.vad)
    if spans is not None:
        speech = sum(end - start for start, end in spans)
        if speech < settings.min_speech:
            raise Unusable(f"no speech: {speech:.2f} s in {seconds:.1f} s, {settings.min_speech:g} s are needed")
    fields = {"seconds": round(seconds, 7), "sample_rate_hz": SAMPLE_RATE_HZ, "loudness_lufs": round(loudness, 2),
              "clipped": round(clipped_share(samples), 6), "snr_db": round(snr_db(samples, SAMPLE_RATE_HZ, spans), 1)}
    if spans is not None:
        fields["speech"] = [[round(start, 3), round(end, 3)] for start, end in spans]
    return sound_bytes(_levels(samples), settings.audio), fields | ({"findings": findings} if findings else {})


def _read(path, item, settings):  # -> float32 [S], findings
    from voice2style.audio import waveform
    from voice2style.audio.decoding import BadAudio

    start, end = item.start_s or 0.0, item.end_s
    try:
        if item.start_s is None and item.end_s is None:
            wave = waveform.read(path, SAMPLE_RATE_HZ, max_seconds=settings.max_seconds)
            return wave.samples, list(wave.findings)
        end = min(start + settings.max_seconds, np.inf if end is None else end)
        if not 0 <= start < end:
            raise Unusable(f"the part from {start:g} to {end:g} s is empty")
        blocks = waveform.blocks(path, SAMPLE_RATE_HZ, max_seconds=end)
        parts, at = [np.zeros(0, np.float32)], 0
        for block in blocks:  # only the wanted part is kept
            parts.append(block[max(0, round(start * SAMPLE_RATE_HZ) - at) :])
            at += len(block)
    except BadAudio as error:
        raise Unusable(str(error).removeprefix(f"{path}: ")) from None
    return np.concatenate(parts), [text for text in blocks.findings if not text.startswith("only the first")]


def find_speech(samples, detector):  # float [S] -> [(start_s, end_s)]
    """The spans of speech, a minute at a time, because the detector's noise floor is that of what it is given."""
    from voice2style.audio.voice_activity import speech_spans

    block, found = round(_VAD_BLOCK_S * SAMPLE_RATE_HZ), []
    count = max(1, round(len(samples) / block))
    for number in range(count):
        first = number * block
        part = samples[first : len(samples) if number == count - 1 else first + block]
        for start, end in speech_spans(part, SAMPLE_RATE_HZ, detector=detector):
            start, end = start + first / SAMPLE_RATE_HZ, end + first / SAMPLE_RATE_HZ
            if found and start - found[-1][1] < 1e-6:
                found[-1] = found[-1][0], end
            else:
                found.append((start, end))
    return found


def _levels(samples):  # float [S] in [-1, 1] -> int16 [S]
    """16-bit levels; those of a 16-bit recording of 16 kHz come out as they were."""
    return np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)


def sound_bytes(levels, audio):  # int16 [S] -> bytes of a mono file of 16 kHz
    """The samples as a FLAC or WAV file; the same samples give the same bytes."""
    import soundfile

    target = io.BytesIO()
    soundfile.write(target, levels, SAMPLE_RATE_HZ, format=audio.upper(), subtype="PCM_16")
    return target.getvalue()


def build_features(content, item):  # bytes of .npy or a pickle, Item -> bytes, fields of its row
    """Features of a corpus that comes without waves, as float32 .npy [T, C]. Unusable says why not.

    Pickles are those of HQ-VoxCeleb: a dictionary with LogMel_Features [C, T]; they are read without running them.
    """
    if len(content) > _MAX_FEATURES:
        raise Unusable(f"too large: {len(content) >> 20} MiB of features")
    features = _unpickled(content) if item.path.lower().endswith((".pickle", ".pkl")) else _loaded(content)
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind != "f":
        raise Unusable(f"features have the shape {list(features.shape)} of {features.dtype}; [T, C] floats are read")
    if not np.isfinite(features).all():
        raise Unusable("features hold NaN or Inf")
    target = io.BytesIO()
    np.lib.format.write_array(target, np.ascontiguousarray(features, np.float32), version=(1, 0), allow_pickle=False)
    return target.getvalue(), {"features": item.extra["features"], "frames": len(features)}


def _loaded(content):
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise Unusable("not an array: no .npy that can be read without running what is in it") from error


def _unpickled(content):
    from voice2style.foreign.plain_values import read_plain_dict
    from voice2style.foreign.windows import Refusal

    try:
        values = read_plain_dict(content)
    except Refusal as error:
        raise Unusable(f"not features: {error}") from error
    features = values.get("LogMel_Features")
    if not isinstance(features, np.ndarray) or features.ndim != 2 or features.shape[0] != _HQ_BANDS:
        raise Unusable(f"not features: no array LogMel_Features [{_HQ_BANDS}, T] in the pickle; it has "
                         f"{', '.join(sorted(values)[:8]) or 'nothing'}")
    return features.T
