import math
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from worldgen.data.media import write_video
from worldgen.data.reading.sound import read_sound, read_sound_of
from worldgen.data.waves import RATE


def film(path, rate=44_100, layout="stereo", codec="aac", seconds=3.0, click=2.0, late=0.0, loud=0.8):
    """A video with a click in the left channel only, whose sound begins later than its frames."""
    count = {"mono": 1, "stereo": 2}[layout]
    sound = np.zeros((count, round(seconds * rate)), np.float32)
    sound[0, round(click * rate) : round(click * rate) + 20] = loud
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=10)
        video.width = video.height = 32
        audio = file.add_stream(codec, rate=rate, layout=layout)
        for _ in range(round(seconds * 10)):
            file.mux(
                video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
            )
        file.mux(video.encode())
        for start in range(0, sound.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[:, start : start + 1024]), format="fltp", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = (
                rate,
                start + round(late * rate),
                Fraction(1, rate),
            )
            file.mux(audio.encode(frame))
        file.mux(audio.encode())


@pytest.mark.parametrize("name, rate, layout, codec", [
    ("a.mp4", 44_100, "stereo", "aac"),
    ("a.mkv", 48_000, "stereo", "flac"),
    ("a.mp4", 8000, "mono", "aac"),
    ("a.mov", 16_000, "mono", "aac"),
])  # fmt: skip
def test_any_rate_and_channels_become_mono_at_16_khz_in_time(tmp_path, name, rate, layout, codec):
    film(tmp_path / name, rate, layout, codec)
    sound = read_sound_of(tmp_path / name)
    assert abs(len(sound) / RATE - 3.0) < 0.1
    assert int(sound.abs().argmax()) / RATE == pytest.approx(2.0, abs=0.004)


@pytest.mark.parametrize("begin", [0.0, 1.3, 1.9])
def test_a_part_is_cut_where_it_is(tmp_path, begin):
    film(tmp_path / "a.mp4")
    part = read_sound(f"file:{tmp_path / 'a.mp4'}", begin, 1.0)
    assert len(part) == RATE
    peak = int(part.abs().argmax()) / RATE
    assert peak == pytest.approx(2.0 - begin, abs=0.004) if begin > 1 else part.abs().max() < 0.05


def test_a_sound_that_begins_late_is_silent_before(tmp_path):
    film(tmp_path / "a.mkv", 48_000, "mono", "flac", late=0.5)
    sound = read_sound_of(tmp_path / "a.mkv")
    assert not sound[: round(0.45 * RATE)].any()
    assert int(sound.abs().argmax()) / RATE == pytest.approx(2.5, abs=0.004)


def test_beyond_its_end_a_sound_is_silence(tmp_path):
    film(tmp_path / "a.mp4")
    assert len(read_sound(f"file:{tmp_path / 'a.mp4'}", 2.5, 2.0)) == 2 * RATE


def test_what_has_no_sound_has_none(tmp_path):
    write_video(tmp_path / "a.mp4", torch.rand(4, 3, 16, 16), 10.0)
    assert read_sound_of(tmp_path / "a.mp4") is None


def test_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_sound_of(tmp_path / "b.mp4")
    film(tmp_path / "a.mkv", 8000, "stereo", "pcm_f32le", click=1.0, loud=math.nan)
    with pytest.raises(ValueError, match="20 of 24000 samples are NaN or infinite"):
        read_sound_of(tmp_path / "a.mkv")
    assert not read_sound(f"file:{tmp_path / 'a.mkv'}", 2.0, 1.0).any()  # the part after it is as it was
