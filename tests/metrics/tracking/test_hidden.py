"""Things that are there, not seen by themselves: painted discs that touch, part, go behind a post, vanish."""

import numpy as np
import pytest
import torch

from worldgen.metrics.tracking.hidden import find_hidden
from worldgen.metrics.tracking.motion import expected_presence, track_motion
from worldgen.types import Clip

SIZE, FRAMES = (64, 160), 30
Disc = tuple[float, float, float]


def paint(discs: list[list[Disc]], post: tuple[int, int] | None = None) -> Clip:
    """Discs (column, row, radius) before a wall, and a post from one column to another before them."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    frames = np.full((len(discs), *SIZE), 0.8)
    for frame, shown in zip(frames, discs, strict=True):
        for column, row, radius in shown:
            cover = (radius + 0.5 - np.hypot(x - column, y - row)).clip(0, 1)
            frame[:] = frame * (1 - cover) + 0.1 * cover
    if post is not None:
        frames[:, :, post[0] : post[1]] = 0.4
    pixels = torch.from_numpy(frames.astype(np.float32))[None, :, None].expand(-1, -1, 3, -1, -1)
    return Clip(frames=pixels.contiguous(), fps=torch.tensor([25.0]), prompts=("",))


def missed(clip: Clip) -> int:
    """Frames of things that ought to be seen and are not, or the other way round."""
    found = track_motion(clip)
    assert found.hidden is not None
    seen = found.trajectory.present[0]
    return int((expected_presence(found.in_image, found.hidden, *SIZE) != seen).sum())


def passing(frame: int) -> Disc:
    return 12 + 4.5 * frame, 32.0, 8.0


@pytest.mark.parametrize("post", [(60, 82), (60, 110)])
def test_what_goes_behind_a_post_and_comes_out_is_hidden_meanwhile(post):
    clip = paint([[passing(frame)] for frame in range(FRAMES)], post)
    found = track_motion(clip)
    assert found.hidden is not None and missed(clip) == 0
    assert found.hidden.any(dim=0).all() and not (found.hidden & found.trajectory.present[0]).any()


@pytest.mark.parametrize("last", [6, 7])
def test_what_vanishes_before_a_post_is_missed(last):
    clip = paint([[passing(frame)] if frame <= last else [] for frame in range(FRAMES)], (60, 82))
    assert missed(clip) == FRAMES - last - 1


def test_what_shrinks_to_nothing_goes_behind_nothing():
    clip = paint([[(*passing(t)[:2], min(8.0, 16.5 - t))] if t < 15 else [] for t in range(FRAMES)])
    assert missed(clip) >= FRAMES - 15


def meeting(frame: int) -> list[Disc]:
    """Two discs that touch in frames 12 to 17, and part."""
    away = max(abs(frame - 14.5), 2.5) - 2.5
    return [(60 - 4 * away, 32.0, 8.0), (76 + 4 * away, 32.0, 8.0)]


def test_things_that_touch_are_hidden_in_each_other_until_they_part():
    clip = paint([meeting(frame) for frame in range(FRAMES)])
    found = track_motion(clip)
    assert found.hidden is not None and missed(clip) == 0
    assert not found.trajectory.present[0].all() and found.hidden[13:17].any()


def test_things_that_stay_together_are_hidden_to_the_end():
    assert missed(paint([meeting(min(frame, 15)) for frame in range(FRAMES)])) == 0


def test_what_vanishes_within_another_is_missed_from_then_on():
    discs = [meeting(min(frame, 15))[: 2 if frame < 22 else 1] for frame in range(FRAMES)]
    assert missed(paint(discs)) == FRAMES - 22


@pytest.mark.parametrize("grown", [8.0, 11.5])
def test_what_vanishes_beside_another_is_missed_also_where_that_grows_by_as_much(grown):
    comes = [(float(max(100 - 3.5 * frame, 63.0)), 32.0, 8.0) for frame in range(14)]
    before = [[place, (40.0, 32.0, 8.0)] for place in comes]
    assert missed(paint([*before, *[[(40.0, 32.0, grown)]] * (FRAMES - 14)])) >= FRAMES - 15


def test_nothing_is_hidden_where_nothing_is_missed():
    clip = paint([[passing(frame)] for frame in range(FRAMES)])
    assert track_motion(clip).hidden is not None and missed(clip) == 0
    assert find_hidden([], np.zeros((4, 8, 8))).shape == (4, 0)
