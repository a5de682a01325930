from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from worldgen.data.media import write_png, write_video
from worldgen.generation.layout import Frame, Reader, lay_out
from worldgen.generation.request import KnownFrames, Request, Shape

FRAME = Frame(16, 16, 10.0, 9)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Gray levels tell frames apart: 0, 1/16, ... of one, and from 1 down of the other."""
    folder = tmp_path_factory.mktemp("videos")
    level = torch.arange(6)[:, None, None, None].expand(-1, 3, 16, 16) / 16
    write_video(folder / "up.mp4", level, 10.0)
    write_video(folder / "down.mp4", 1 - level, 10.0)
    write_video(folder / "wide.mp4", level[..., :8, :].clone(), 10.0)
    write_png(folder / "picture.png", level[4])
    return folder


def laid(known=None, first=None, count=2, most=2):
    request = Request(
        Path("run"), ["a"], first, shape=Shape(context_frames=count), known=known or KnownFrames()
    )
    return lay_out(request, Reader(FRAME), most)


def levels(frames):
    return [round(float(frame.mean()) * 16) for frame in frames]


def test_first_and_last_frames_stand_at_the_ends(videos):
    found = laid(KnownFrames(last_frames=videos / "down.mp4"), videos / "up.mp4")
    assert found.places == (0, 1, 7, 8) and levels(found.shown) == [0, 1, 12, 11] and found.cut == (0, 0)
    alone = laid(KnownFrames(last_frames=videos / "picture.png"))
    assert alone.places == (8,) and levels(alone.shown) == [4]
    clip = alone.clip(FRAME, ("a", "b"))
    assert clip.frames.shape == (2, 9, 3, 16, 16) and float(clip.frames[1, 8].mean()) == pytest.approx(
        0.25, abs=0.02
    )
    assert (clip.frames[:, :8] == 0.5).all()


def test_videos_are_extended_and_joined_with_all_of_their_frames_around(videos):
    after = laid(KnownFrames(after=videos / "up.mp4"))
    assert (
        after.places == (0, 1)
        and levels(after.shown) == [4, 5]
        and len(after.before) == 6
        and after.cut == (2, 0)
    )
    before = laid(KnownFrames(before=videos / "down.mp4"))
    assert before.places == (7, 8) and levels(before.shown) == [16, 15] and before.cut == (0, 2)
    join = laid(KnownFrames(join=[videos / "up.mp4", videos / "down.mp4"]))
    assert join.places == (0, 1, 7, 8) and levels(join.shown) == [4, 5, 16, 15]
    assert join.cut == (2, 2) and len(join.before) == len(join.after) == 6


def test_a_loop_ends_before_its_first_frames_come_again(videos):
    found = laid(KnownFrames(loop=True), videos / "up.mp4")
    assert found.places == (0, 1, 7, 8) and levels(found.shown) == [0, 1, 0, 1] and found.cut == (0, 2)


def test_any_frames_stand_where_they_are(videos):
    found = laid(KnownFrames(known=videos / "up.mp4", at=[5, 2]))
    assert found.places == (2, 5) and levels(found.shown) == [2, 5]


def test_what_is_cropped_and_slowed_is_said(videos):
    reader = Reader(Frame(16, 16, 25.0, 9))
    found = reader.first(videos / "wide.mp4", 2)
    assert found.shape == (2, 3, 16, 16)
    (said,) = reader.notes
    assert "of its 8 x 16 pixels the central 8 x 8 are used" in said
    assert "10 frames per second are taken as 25" in said
    assert_close(Reader(Frame(8, 16, 10.0, 9)).first(videos / "wide.mp4", 1).shape, torch.Size([1, 3, 8, 16]))


@pytest.mark.parametrize(
    "known, first, count, sentence",
    [
        ({"known": "up.mp4", "at": [2, 9]}, None, 2, "--at must lie within the clip, in 0 to 5; got 9"),
        (
            {"join": ["up.mp4", "wide.mp4"]},
            None,
            2,
            "one size; .*up.mp4 has 16 x 16 pixels and .*wide.mp4 8 x 16",
        ),
        ({"join": ["up.mp4", "down.mp4"]}, None, 5, "Of 9 frames 10 are known"),
        ({"last_frames": "up.mp4"}, "up.mp4", 6, "Of 9 frames 12 are known, and none is left to make"),
        ({"after": "up.mp4"}, None, 0, "--context-frames must be at least 1"),
    ],
)
def test_known_frames_that_cannot_be_are_refused(videos, known, first, count, sentence):
    paths = {
        name: videos / value
        if isinstance(value, str)
        else [videos / one if isinstance(one, str) else one for one in value]
        for name, value in known.items()
    }
    with pytest.raises(ValueError, match=sentence):
        laid(KnownFrames(**paths), first and videos / first, count)
