"""Plans babble: phrases of syllables as control tracks, one row every 10 ms."""

import numpy as np

from voice2style.demo.phones import CODAS, CONSONANTS, SCHWA, STOPS, VOWELS

FRAMES_PER_SECOND = 100
# Columns of a control track.
F1, F2, F3, VOICING, FRICATION, CENTRE_HZ, WIDTH_HZ, ASPIRATION, NASALITY, ACCENT = range(10)
_QUIET = (0, 0, 4000, 2000, 0, 0, 0)  # what follows the formants in a pause
_VOWEL_NAMES, _CONSONANT_NAMES = tuple(VOWELS), tuple(CONSONANTS)


def smooth(track, width):  # [T, C] -> [T, C]
    """Convolves each column with a Gaussian of this standard deviation, in frames; the ends are held."""
    reach = int(3 * width) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= kernel.sum()
    return np.stack([np.convolve(np.pad(column, reach, mode="edge"), kernel, "valid") for column in track.T], 1)


def _onset(rows, name, vowel, beat):  # -> frames used
    """Adds a consonant before a vowel: stops close, burst and breathe; the others hold."""
    sound = CONSONANTS[name]
    formants = vowel if name == "h" else sound[:3]
    frames = max(3, round(beat * 0.36))
    spectrum = (sound.centre_hz, sound.width_hz)
    if name in STOPS:
        rows.append((max(2, frames - 2), (*formants, sound.voicing * 0.5, 0, *spectrum, 0, 0, 0)))
        rows.append((1, (*formants, sound.voicing * 0.5, sound.frication, *spectrum, 0, 0, 0)))
        if sound.aspiration:
            rows.append((2, (*vowel, 0, sound.frication * 0.25, *spectrum, sound.aspiration, 0, 0)))
    else:
        rows.append(
            (frames, (*formants, sound.voicing, sound.frication, *spectrum, sound.aspiration, sound.nasality, 0))
        )
    return frames


def _syllable(rows, physical, last, random):  # -> frames used, vowel at its end
    """Adds a (C)V(C) syllable; 35 % are accented, the last of a phrase is longer, some vowels are diphthongs."""
    accent = float(random.random() < 0.35)
    beat = (
        FRAMES_PER_SECOND
        / physical.syllables_per_s
        * random.uniform(0.75, 1.25)
        * (1 + 0.25 * accent)
        * (1.35 if last else 1)
    )
    vowel = VOWELS[_VOWEL_NAMES[random.integers(len(VOWELS))]]
    used = 0
    if random.random() < 0.88:
        used = _onset(rows, _CONSONANT_NAMES[random.integers(len(CONSONANTS))], vowel, beat)
    frames = max(4, round(beat * 0.64))
    end = VOWELS[_VOWEL_NAMES[random.integers(len(VOWELS))]] if random.random() < 0.18 else vowel
    rows.append((frames // 2, (*vowel, 1, *_QUIET[1:-1], accent)))
    rows.append((frames - frames // 2, (*end, 0.95, *_QUIET[1:-1], accent)))
    if random.random() < 0.25:
        rows.append((max(3, int(beat * 0.25)), (*CONSONANTS[CODAS[random.integers(len(CODAS))]], 0)))
        used += rows[-1][0]
    return used + frames, vowel


def plan(physical, num_frames, random):  # -> [T, 10]
    """The smoothed control track of T frames of babble: columns F1 .. ACCENT."""
    pause = 8 + int(random.integers(0, 8))
    rows, planned, left, vowel = [(pause, (*SCHWA, *_QUIET))], pause, 0, SCHWA
    while planned < num_frames:
        if left == 0:
            left = int(random.integers(4, 10))
            if len(rows) > 1:
                rows.append(
                    (int(random.uniform(12, 32) * physical.pause * 4.4 / physical.syllables_per_s), (*vowel, *_QUIET))
                )
                planned += rows[-1][0]
        left -= 1
        used, vowel = _syllable(rows, physical, left == 0, random)
        planned += used
    frames = np.array([count for count, _ in rows])
    track = np.repeat(np.array([row for _, row in rows], np.float64), frames, 0)[:num_frames]
    smoothing = (
        (slice(F1, VOICING), 1.9),
        (slice(VOICING, CENTRE_HZ), 0.75),
        (slice(ASPIRATION, NASALITY), 0.8),
        (slice(NASALITY, ACCENT), 2.5),
        (slice(ACCENT, None), 6),
    )
    for columns, width in smoothing:
        track[:, columns] = smooth(track[:, columns], width)
    return track
