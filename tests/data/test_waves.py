import math

import numpy as np
import pytest
import torch
from scipy.signal import freqz

from worldgen.data import waves
from worldgen.data.waves import RATE, loudness, require_sound, resample, set_loudness


def sine(hertz: float, seconds: float = 3.0, rate: int = RATE, size: float = 1.0) -> torch.Tensor:
    return size * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)).double() / rate)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_the_reference_tone_has_the_loudness_of_the_recommendation(rate):
    assert loudness(sine(997, rate=rate), rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(sine(997, rate=rate, size=0.1), rate) == pytest.approx(-23.01, abs=0.05)


def test_the_weighting_is_the_tabled_one_at_48_khz():
    shelf = (
        [1.53512485958697, -2.69169618940638, 1.19839281085285],
        [1, -1.69065929318241, 0.73248077421585],
    )
    high = ([1.0, -2.0, 1.0], [1, -1.99004745483398, 0.99007225036621])
    pulse = np.zeros(48_000)
    pulse[0] = 1
    ours = np.abs(np.fft.rfft(waves._weigh(pulse, 48_000)))
    at = 2 * np.pi * np.fft.rfftfreq(48_000)
    tabled = np.abs(freqz(*shelf, worN=at)[1] * freqz(*high, worN=at)[1])
    np.testing.assert_allclose(ours[20:], tabled[20:], rtol=1e-4)


def test_silence_between_does_not_count_and_whispers_below_the_relative_gate_neither():
    tone, quiet = sine(997, 5, size=0.1), sine(997, 5, size=0.1 * 10 ** (-15 / 20))
    alone = loudness(tone, RATE)
    assert loudness(torch.cat([tone, torch.zeros(5 * RATE)]), RATE) == pytest.approx(alone, abs=0.2)
    assert loudness(torch.cat([tone, quiet]), RATE) == pytest.approx(alone, abs=0.2)
    assert loudness(torch.zeros(RATE), RATE) == -math.inf
    assert loudness(sine(997, 0.1), RATE) == pytest.approx(-3.0, abs=0.3)  # shorter than a block


@pytest.mark.parametrize("wanted", [-30.0, -23.0, -16.0])
def test_a_sound_gets_the_loudness_that_is_asked_for(wanted):
    assert loudness(set_loudness(sine(440, size=0.01), RATE, wanted), RATE) == pytest.approx(wanted, abs=1e-3)


def test_a_peak_ends_it_and_silence_stays():
    click = torch.zeros(RATE)
    click[100] = 0.5
    assert set_loudness(click, RATE, -10.0).abs().max() == pytest.approx(10 ** (-1 / 20))
    assert not set_loudness(torch.zeros(RATE), RATE).any()


@pytest.mark.parametrize("rate, to", [(24_000, 16_000), (8000, 16_000), (44_100, 16_000), (16_000, 48_000)])
def test_a_tone_is_the_same_tone_at_another_rate(rate, to):
    again = resample(sine(1000, 1.0, rate), rate, to)
    assert len(again) == to
    torch.testing.assert_close(
        again[to // 10 : -to // 10], sine(1000, 1.0, to)[to // 10 : -to // 10], atol=1e-4, rtol=0
    )


def test_what_the_lower_rate_cannot_carry_is_gone():
    assert resample(sine(9500, 1.0, 24_000), 24_000, 16_000)[1000:-1000].abs().max() < 1e-3


def test_resampling_keeps_kind_shape_and_an_equal_rate():
    sound = torch.rand(2, 2400)
    assert resample(sound, 24_000, 16_000).shape == (2, 1600)
    assert resample(sound, 24_000, 16_000).dtype == sound.dtype
    assert resample(sound, RATE, RATE) is sound


@pytest.mark.parametrize(
    "sound, sentence",
    [
        (torch.zeros(2, 10), r"Speech must be mono, \(S\) samples; got shape \(2, 10\)"),
        (torch.zeros(0), "must be mono"),
        (torch.zeros(10, dtype=torch.int16), r"floating point in \[-1, 1\]; got torch.int16"),
        (torch.tensor([0.0, math.nan, math.inf]), "finite samples; 2 of 3 are NaN or infinite"),
    ],
)
def test_what_is_no_sound_is_refused(sound, sentence):
    with pytest.raises(ValueError, match=sentence):
        require_sound(sound, "Speech")


def test_a_rate_must_be_positive():
    with pytest.raises(ValueError, match="positive number of samples per second; got 0"):
        resample(torch.zeros(10), 0, RATE)
