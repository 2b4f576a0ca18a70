"""The audio front-end against librosa: one clip, many, and clips of growing length."""

from benchmarks.measuring import Wishes, interleaved, row

LENGTHS_S = (1, 3, 6, 20, 60)
TARGETS = {1: 5, 64: 20}


def suite_audio(rounds, wishes=None):
    """MFCC with Δ and ΔΔ, beside librosa's feature.mfcc and two feature.delta: one clip of 6 s and 64; lengths."""
    import numpy as np
    import torch

    from voice2style.audio import AudioSettings, FrontEnd

    wishes = wishes or Wishes(rounds=rounds)
    frontend = FrontEnd(AudioSettings())
    waves = np.random.default_rng(0).standard_normal([64, 6 * 16000]).astype(np.float32) * 0.1

    def race(batch, repeats):
        tensor = torch.from_numpy(batch)

        def ours():
            with torch.inference_mode():
                frontend(tensor)

        return interleaved({"ours": ours, "librosa": lambda: [_by_librosa(wave) for wave in batch]}, repeats)

    threads, results = torch.get_num_threads(), []
    torch.set_num_threads(wishes.threads)
    for count, target in TARGETS.items():
        seconds = race(waves[:count], wishes.rounds * (20 if count == 1 else 1))
        result = row(f"MFCC+Δ+ΔΔ of {count} × 6 s", seconds, "ours", "librosa", f"{target} ×",
                     real_time=6 * count / min(seconds["ours"]), clip_s=6, batch=count)
        results.append({**result, "met": result["ratio"] >= target})
    for length_s in LENGTHS_S if wishes.sweep else ():
        batch = np.resize(waves, [1, length_s * 16000])
        results.append(row(f"MFCC+Δ+ΔΔ of {length_s} s", race(batch, wishes.rounds * 5), "ours", "librosa", None,
                           clip_s=length_s, batch=1))
    torch.set_num_threads(threads)
    return results


def _by_librosa(wave):
    """Returns static, delta and delta-delta as a user of librosa writes them."""
    import librosa
    import numpy as np

    static = librosa.feature.mfcc(y=wave, sr=16000, n_mfcc=40, n_mels=64, n_fft=512, hop_length=200, win_length=400,
                                  window="hamming", htk=True, center=False)
    return np.stack([static, librosa.feature.delta(static, width=5, mode="nearest"),
                     librosa.feature.delta(static, width=5, mode="nearest", order=2)])
