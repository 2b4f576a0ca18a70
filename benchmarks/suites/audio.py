"""The audio front-end against librosa: one clip, many, and clips of growing length; with and without vector kernels."""

import statistics
from unittest import mock

from benchmarks.measuring import Wishes, interleaved, row

LENGTHS_S = (1, 3, 6, 20, 60)
TARGETS = {1: 5, 64: 20}


def suite_audio(rounds, wishes=None):
    """MFCC with Δ and ΔΔ, beside librosa's feature.mfcc and two feature.delta: one clip of 6 s and 64; lengths.

    "ours" are the vector kernels where they can be built, else plain torch, whose time stands beside it.
    """
    import numpy as np
    import torch

    from voice2style.audio import AudioSettings, FrontEnd, fused_frontend

    wishes = wishes or Wishes(rounds=rounds)
    frontend, fused = FrontEnd(AudioSettings()), fused_frontend.prepare()
    waves = np.random.default_rng(0).standard_normal([64, 6 * 16000]).astype(np.float32) * 0.1

    def race(batch, repeats):
        tensor = torch.from_numpy(batch)

        def ours():
            with torch.inference_mode():
                frontend(tensor)

        def plain():
            with mock.patch.object(fused_frontend, "usable", return_value=False):
                ours()

        return interleaved({"ours": ours, "plain torch": plain, "librosa": lambda: [_by_librosa(w) for w in batch]},
                           repeats, settle=True)

    def result(work, seconds, target, **more):
        return row(work, seconds, "ours", "librosa", target, kernels=fused,
                   plain_torch_s=statistics.median(seconds["plain torch"]), **more)

    threads, results = torch.get_num_threads(), []
    torch.set_num_threads(wishes.threads)
    for count, target in TARGETS.items():
        seconds = race(waves[:count], wishes.rounds * (20 if count == 1 else 1))
        item = result(f"MFCC+Δ+ΔΔ of {count} × 6 s", seconds, f"{target} ×",
                      real_time=6 * count / min(seconds["ours"]), clip_s=6, batch=count)
        results.append({**item, "met": item["ratio"] >= target})
    for length_s in LENGTHS_S if wishes.sweep else ():
        batch = np.resize(waves, [1, length_s * 16000])
        results.append(result(f"MFCC+Δ+ΔΔ of {length_s} s", race(batch, wishes.rounds * 5), None, clip_s=length_s,
                              batch=1))
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
