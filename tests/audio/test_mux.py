import math
import wave

import av
import numpy as np
import pytest
import torch

from worldgen.audio.mux import AAC_RATES, FRAME, add_track, mix, write_wav
from worldgen.data.media import read_video, write_video
from worldgen.data.waves import RATE


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "clip.mp4", torch.rand(16, 3, 32, 32), 25.0)
    return tmp_path / "clip.mp4"


def heard(path) -> tuple[np.ndarray, float]:
    """Samples of a file as a player gives them, and the time of the first."""
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), float(
        frames[0].pts * frames[0].time_base
    )


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("t", [0.0, 0.1, 0.33, 0.6])
def test_a_click_is_heard_when_it_was_made(video, rate, t):
    sound = torch.zeros(round(0.64 * rate))
    sound[round(t * rate)] = 0.9
    add_track(video, sound, rate)
    samples, first = heard(video)
    at = first + np.abs(samples).argmax() / rate
    assert abs(at - t) < FRAME / rate  # what is asked
    assert abs(at - t) <= 2 / rate  # what is
    assert first == 0 and 0 <= len(samples) - len(sound) < FRAME


def test_frames_stay_bit_for_bit(video):
    def packets():
        with av.open(str(video)) as file:
            return [(packet.pts, packet.dts, bytes(packet)) for packet in file.demux(video=0) if packet.size]

    before, frames = packets(), read_video(video)[0]
    add_track(video, torch.rand(10_000) * 0.1)
    add_track(video, torch.rand(10_240) * 0.1)  # in place of the first
    assert packets() == before
    assert torch.equal(read_video(video)[0], frames)
    with av.open(str(video)) as file:
        assert len(file.streams.audio) == 1


def test_what_is_heard_is_what_was_given(video):
    sound = 0.5 * torch.sin(2 * math.pi * 440 * torch.arange(10_240) / RATE)
    add_track(video, sound)
    samples, _ = heard(video)
    assert np.sqrt(np.mean((samples[500:9500] - sound.numpy()[500:9500]) ** 2)) < 0.02


def test_a_wav_holds_the_samples(tmp_path):
    write_wav(tmp_path / "a.wav", torch.tensor([0.0, 1.0, -1.0, 0.5]), 24_000)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (24_000, 1, 4)
        assert np.frombuffer(file.readframes(4), "<i2").tolist() == [0, 32767, -32767, 16384]


@pytest.mark.parametrize(
    "sound, rate, sentence",
    [
        (torch.zeros(100), 11_000, "AAC has 96000, .* samples per second; got 11000. Resample"),
        (torch.full((100,), math.nan), RATE, "finite samples; 100 of 100"),
        (torch.zeros(2, 100), RATE, "must be mono"),
        (torch.full((100,), 1.5), RATE, r"must lie in \[-1, 1\]; got a peak of 1.5"),
    ],
)
def test_what_cannot_be_put_beside_frames_leaves_the_video(video, sound, rate, sentence):
    before = video.read_bytes()
    with pytest.raises(ValueError, match=sentence):
        add_track(video, sound, rate)
    assert video.read_bytes() == before


def test_a_file_without_video_is_refused(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="cannot get a sound"):
        add_track(tmp_path / "clip.mp4", torch.zeros(100))
    write_wav(tmp_path / "a.wav", torch.zeros(1000))
    with pytest.raises(ValueError, match="must hold a video to get a sound; it holds none"):
        add_track(tmp_path / "a.wav", torch.zeros(100))
    assert set(AAC_RATES) >= {RATE, 24_000}


def test_mixed_sounds_begin_together_and_do_not_clip():
    assert mix(None, None) is None
    assert mix(torch.tensor([0.5, 0.5]), None, torch.tensor([0.25])).tolist() == [0.75, 0.5]
    assert mix(torch.tensor([1.0]), torch.tensor([1.0, 0.5])).tolist() == [1.0, 0.25]
