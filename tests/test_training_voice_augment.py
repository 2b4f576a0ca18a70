"""Changes of a voice by law: measured ratios, lengths, pitches, decays; and the same from the same random stream."""

import math
import pickle

import numpy as np
import pytest
import torch
from conftest import speech_like

from training import voice_changes as changes
from training.phases import Batch
from training.voice_augment import QUIET, FeatureMasks, VoiceAugment, VoiceAugmentSettings

RATE = 16000


def rng(seed=0):
    return np.random.default_rng(seed)


def power(wave):
    return float(np.mean(np.square(wave, dtype=np.float64)))


def pulses(pitch_hz, seconds=1.0):
    """A buzz of one pitch with a formant at 1 kHz, steady."""
    time = np.arange(int(seconds * RATE)) / RATE
    weights = {k: 1 / (1 + ((k * pitch_hz - 1000) / 200) ** 2) + 0.05 for k in range(1, int(4000 / pitch_hz))}
    wave = sum(gain * np.sin(2 * np.pi * k * pitch_hz * time + k * k) for k, gain in weights.items())
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def strongest_lag_hz(wave, low_hz=70, high_hz=400):
    middle = wave[len(wave) // 4:3 * len(wave) // 4]
    spectrum = np.abs(np.fft.rfft(middle, 4 * len(middle))) ** 2
    correlation = np.fft.irfft(spectrum)
    lags = np.arange(round(RATE / high_hz), round(RATE / low_hz))
    at = int(lags[np.argmax(correlation[lags])])
    left, here, right = correlation[at - 1:at + 2]
    return RATE / (at + 0.5 * (left - right) / (left - 2 * here + right))


def centroid_hz(wave):
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    return float((spectrum * np.fft.rfftfreq(len(wave), 1 / RATE)).sum() / spectrum.sum())


# Noise ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", changes.NOISES)
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_lies_the_stated_ratio_below_the_speech(kind, snr_db):
    wave = np.concatenate([np.zeros(RATE, np.float32), speech_like(2.0, pauses=False), np.zeros(RATE, np.float32)])
    others = [speech_like(1.5, seed=k, pitch_hz=180) for k in range(3)]
    noisy = changes.add_noise(wave, snr_db, rng(), sample_rate_hz=RATE, kind=kind, babble=others)
    spoken = wave[RATE + 800:3 * RATE - 800]
    found = 10 * math.log10(power(spoken) / power(noisy - wave))
    assert found == pytest.approx(snr_db, abs=0.6)  # the detector's edges are within a few frames of the speech
    assert changes.speech_rms(wave, RATE) == pytest.approx(math.sqrt(power(spoken)), rel=0.06)


def test_colours_of_noise():
    def octave_powers(kind):
        spectrum = np.abs(np.fft.rfft(changes.make_noise(kind, 1 << 16, rng()))) ** 2
        return [spectrum[2**k:2 ** (k + 1)].sum() for k in range(8, 15)]

    white, pink = octave_powers("white"), octave_powers("pink")
    assert all(b / a == pytest.approx(2, rel=0.25) for a, b in zip(white, white[1:]))
    assert all(b / a == pytest.approx(1, rel=0.25) for a, b in zip(pink, pink[1:]))
    assert power(changes.make_noise("pink", 5000, rng())) == pytest.approx(1, rel=1e-5)


def test_noise_on_silence_is_silence():
    assert not changes.add_noise(np.zeros(RATE, np.float32), 10, rng(), sample_rate_hz=RATE).any()


# Tempo and speed ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rate", [0.8, 1.1, 1.2])
@pytest.mark.parametrize("pitch_hz", [110.0, 220.0])
def test_tempo_changes_length_but_neither_pitch_nor_formants(rate, pitch_hz):
    wave = pulses(pitch_hz)
    other = changes.change_tempo(wave, rate, sample_rate_hz=RATE)
    assert len(other) == round(len(wave) / rate) and other.dtype == np.float32
    assert strongest_lag_hz(other) == pytest.approx(pitch_hz, rel=0.005)
    assert centroid_hz(other) == pytest.approx(centroid_hz(wave), rel=0.03)
    assert power(other[2000:-2000]) == pytest.approx(power(wave), rel=0.05)


def test_tempo_moves_events_to_their_new_time():
    wave = np.zeros(2 * RATE, np.float32)
    wave[:RATE] = pulses(120.0)
    faster = changes.change_tempo(wave, 1.25, sample_rate_hz=RATE)
    edge = np.flatnonzero(np.abs(faster) > 0.01)[-1]
    assert edge == pytest.approx(RATE / 1.25, abs=0.03 * RATE)


def test_a_tempo_of_one_changes_nothing():
    wave = speech_like(1.0)
    assert np.array_equal(changes.change_tempo(wave, 1.0, sample_rate_hz=RATE), wave)
    near = changes.change_tempo(wave, 1.0000001, sample_rate_hz=RATE)
    assert np.abs(near - wave).max() < 1e-5  # windows add up to one, every piece continues the last


def test_speed_moves_pitch_and_formants_and_is_capped():
    wave = pulses(120.0)
    faster = changes.change_speed(wave, 1.05, sample_rate_hz=RATE)
    assert len(faster) == round(len(wave) / 1.05)
    assert strongest_lag_hz(faster) == pytest.approx(126.0, rel=0.005)
    assert centroid_hz(faster) == pytest.approx(1.05 * centroid_hz(wave), rel=0.02)
    with pytest.raises(ValueError, match="speed rate is 1.2; allowed: 0.95 to 1.05, because it changes the speaker"):
        changes.change_speed(wave, 1.2, sample_rate_hz=RATE)
    with pytest.raises(ValueError, match="tempo rate is 3; allowed: 0.5 to 2"):
        changes.change_tempo(wave, 3, sample_rate_hz=RATE)


# Gain, band, room -----------------------------------------------------------------------------------------------------

def test_gain_in_decibels_up_to_full_scale():
    wave = 0.25 * np.sin(np.arange(1000) * 0.1).astype(np.float32)
    assert power(changes.change_gain(wave, -6.0)) / power(wave) == pytest.approx(10 ** -0.6, rel=1e-4)
    assert np.abs(changes.change_gain(wave, 30.0)).max() == pytest.approx(1.0, abs=1e-6)
    assert not changes.change_gain(np.zeros(4, np.float32), 6.0).any()


def test_band_limits_take_out_what_lies_beyond():
    def left(hz):
        tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE).astype(np.float32)
        return 10 * math.log10(power(changes.limit_band(tone, 300, 3400, sample_rate_hz=RATE)) / power(tone) + 1e-12)

    assert left(1000) == pytest.approx(0, abs=1e-3) and left(301) == pytest.approx(0, abs=0.1)
    assert left(150) < -60 and left(5000) < -60
    with pytest.raises(ValueError, match="the band is 500 to 400 Hz"):
        changes.limit_band(np.ones(10, np.float32), 500, 400, sample_rate_hz=RATE)


def test_a_room_decays_by_sixty_decibels_and_keeps_its_ratio():
    response = changes.room_response(0.5, 6.0, rng(), sample_rate_hz=RATE).astype(np.float64)
    assert response[0] == 1 and np.square(response[1:]).sum() == pytest.approx(10 ** -0.6, rel=1e-5)
    left = 10 * np.log10(np.square(response[::-1]).cumsum()[::-1])  # Schroeder's backward integral
    slope = np.polyfit(np.arange(800, 4000) / RATE, left[800:4000], 1)[0]
    assert -60 / slope == pytest.approx(0.5, rel=0.1)


def test_reverberation_keeps_length_and_loudness_and_a_dry_room_changes_nothing():
    wave = speech_like(1.0)
    wet = changes.reverberate(wave, changes.room_response(0.3, 3.0, rng(), sample_rate_hz=RATE))
    assert len(wet) == len(wave) and power(wet) == pytest.approx(power(wave), rel=1e-4)
    assert not np.allclose(wet, wave, atol=0.01)
    assert np.allclose(changes.reverberate(wave, np.array([1.0, 0, 0], np.float32)), wave, atol=1e-5)


def test_crops_lie_inside_and_short_clips_are_repeated():
    wave = np.arange(10, dtype=np.float32)
    assert changes.crop(wave, 4, 0.0).tolist() == [0, 1, 2, 3] and changes.crop(wave, 4, 1.0).tolist() == [6, 7, 8, 9]
    assert changes.crop(wave, 12, 0.0).tolist() == [*range(10), 0, 1]
    assert sorted({int(changes.crop(wave, 9, p)[0]) for p in np.linspace(0, 0.999, 50)}) == [0, 1]


# All together ---------------------------------------------------------------------------------------------------------

EVERYTHING = VoiceAugmentSettings(tempo_chance=1, speed=0.05, speed_chance=1, gain_chance=1, band_chance=1,
                                  reverb_chance=1, noises=("white", "pink", "babble"))


def test_the_same_stream_gives_the_same_wave_of_the_wanted_length():
    wave, augment = speech_like(3.0), VoiceAugment(EVERYTHING, babble=[speech_like(1.0, seed=5)])
    first = augment(wave, rng(1), RATE, num_samples=24000)
    again = pickle.loads(pickle.dumps(augment))(wave, rng(1), RATE, num_samples=24000)  # as a worker gets it
    assert np.array_equal(first, again) and first.shape == (24000,) and first.dtype == np.float32
    assert np.isfinite(first).all() and not np.array_equal(first, augment(wave, rng(2), RATE, num_samples=24000))
    assert len(augment(speech_like(0.5), rng(3), RATE, num_samples=24000)) == 24000
    assert np.array_equal(wave, speech_like(3.0))  # what came in is not written to


def test_with_nothing_wished_a_clip_is_only_cropped():
    wave = speech_like(2.0)
    assert np.array_equal(VoiceAugment(QUIET)(wave, rng(), RATE), wave)
    part = VoiceAugment(QUIET)(wave, rng(), RATE, num_samples=8000)
    assert any(np.array_equal(wave[k:k + 8000], part) for k in range(len(wave) - 8000 + 1))


def test_noise_of_a_whole_augmentation_is_at_least_ten_decibels_below():
    wave = speech_like(2.0, pauses=False)
    augment = VoiceAugment(VoiceAugmentSettings(tempo_chance=0, gain_chance=0, band_chance=0, reverb_chance=0))
    ratios = [20 * math.log10(changes.speech_rms(wave, RATE) / math.sqrt(power(augment(wave, rng(k), RATE) - wave)))
              for k in range(30)]
    assert 9.9 < min(ratios) < 14 and 35 < max(ratios) < 40.1


def test_crop_lengths_span_their_range():
    augment = VoiceAugment()
    lengths = [augment.crop_samples(rng(k), RATE) / RATE for k in range(200)]
    assert 3 <= min(lengths) < 3.2 and 7.8 < max(lengths) <= 8


@pytest.mark.parametrize(("wishes", "words"), [
    ({"speed": 0.2}, r"speed is 0.2; allowed: 0 to 0.05: resampling moves pitch and formants"),
    ({"tempo": 0.9}, "tempo is 0.9; allowed: 0 to 0.5"), ({"noises": ("brown",)}, 'no noise of kind "brown"'),
    ({"noise_chance": 2}, "noise_chance is 2; allowed: 0 to 1"), ({"crop_s": (8, 3)}, "give a range"),
    ({"low_hz": (20, 4000)}, "nothing would be left between"), ({"crop_s": (0, 3)}, "give more than 0")])
def test_settings_that_make_no_sense(wishes, words):
    with pytest.raises(ValueError, match=words):
        VoiceAugmentSettings(**wishes)


def test_errors_of_use():
    with pytest.raises(ValueError, match="babble needs clips of other voices"):
        VoiceAugment(EVERYTHING)
    with pytest.raises(ValueError, match=r"a wave of shape \(2, 5\) cannot be augmented"):
        VoiceAugment(QUIET)(np.zeros((2, 5), np.float32), rng(), RATE)


# Masks ----------------------------------------------------------------------------------------------------------------

def test_masks_fill_with_the_clips_mean_and_cover_no_more_than_they_may():
    features = torch.randn(64, 30, 100, generator=torch.Generator().manual_seed(0))
    masks = FeatureMasks(planes=3, num_time=1, time_frames=15, num_rows=1, row_width=3)
    masked = masks(features, torch.Generator().manual_seed(1))
    changed = masked != features
    rows, frames = changed.all(2), changed.all(1)
    assert rows.sum(1).max() == 9 and rows.sum(1).min() == 0 and set(rows.sum(1).tolist()) <= {0, 3, 6, 9}
    assert frames.sum(1).max() == 15
    assert torch.equal(rows[:, :10], rows[:, 10:20]) and torch.equal(rows[:, :10], rows[:, 20:])
    mean = features.mean(2, keepdim=True).expand_as(features)
    assert torch.allclose(masked[changed], mean[changed], atol=1e-6)
    assert torch.equal(changed, rows[:, :, None] | frames[:, None])  # stretches, nothing else


def test_masks_of_padded_clips_know_their_lengths():
    features = torch.randn(8, 10, 50, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([50, 20] * 4)
    padded = torch.where(torch.arange(50) < lengths[:, None, None], features, 77.0)
    masked = FeatureMasks(most=0.5)(padded, torch.Generator().manual_seed(1), lengths=lengths)
    assert (masked[1::2, :, 20:] == 77).all() and masked[1::2, :, :20].abs().max() < 10


def test_masks_do_not_depend_on_the_parts_of_a_batch():
    features, masks = torch.randn(8, 12, 60), FeatureMasks(planes=3, row_width=2)
    whole = masks(features, torch.Generator().manual_seed(1))
    for k in range(2):
        part = Batch(size=8, positions=torch.arange(8)[k::2])
        assert torch.equal(masks(features[k::2], torch.Generator().manual_seed(1), batch=part), whole[k::2])
    with pytest.raises(ValueError, match="features of 13 rows are not 3 planes"):
        masks(torch.randn(1, 13, 60))
