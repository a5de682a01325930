import pytest
import torch

from worldgen.audio.audio_codec import AudioCodec
from worldgen.data.waves import RATE
from worldgen.metrics.sound import find_onsets


def rings(*times, seconds=0.64):
    """Decaying tones of 4 kHz from some times on."""
    t = torch.arange(round(seconds * RATE)) / RATE
    return sum(
        (0.4 * torch.exp(-150 * (t - t0)) * torch.sin(2 * torch.pi * 4000 * (t - t0)) * (t >= t0))
        for t0 in times
    )[None]


def test_blows_come_back_when_they_were_and_silence_stays_silence():
    codec = AudioCodec()
    z = codec.encode(rings(0.2, 0.45))
    assert z.shape == (1, 160, 32, 1, 1) and codec.rate == 250
    sound = codec.decode(z)
    assert sound.shape == (1, 160 * 64) and sound.abs().max() <= 1
    assert find_onsets(sound[0]) == pytest.approx([0.2, 0.45], abs=0.004)
    assert not codec.decode(codec.encode(torch.zeros(1, 6400))).any()


def test_what_is_twice_as_loud_lies_higher_by_the_scale():
    codec = AudioCodec(quietest=-4.0, loudest=0.0)
    one, two = codec.encode(rings(0.1) / 2), codec.encode(rings(0.1))
    loud = one > -0.2
    assert loud.any()
    torch.testing.assert_close(
        (two - one)[loud], torch.full_like(one[loud], 0.30103 / 2), rtol=1e-3, atol=1e-3
    )


def test_a_noise_that_a_sampler_leaves_is_not_heard():
    codec = AudioCodec()
    z = codec.encode(rings(0.3))
    z = z + 0.03 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    assert find_onsets(codec.decode(z)[0]) == pytest.approx([0.3], abs=0.005)


@pytest.mark.parametrize("wrong", [{"hop": 200}, {"bands": 0}, {"quietest": 0.0}])
def test_scales_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="AudioCodec must have bands, a hop of half a window or less"):
        AudioCodec(**wrong)
