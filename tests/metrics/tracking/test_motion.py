"""Foreign videos: synthetic ones with a known answer, and real ones where they are at hand."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from worldgen.data.videos import read_small
from worldgen.evaluation.foreign.videos import check_video
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.permanence import check_births, exits
from worldgen.metrics.tracking.motion import Untrackable, expected_presence, track_motion
from worldgen.types import Clip, PhysicsReport

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "real_clips"
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the real clips of ../shared/data are not on this machine"
)
WIDTH = 320


def paint(places: list[list[tuple[float, float]]], radius: float = 4.0, size: int = 96) -> Clip:
    """Dark discs at (x, y) per frame on a light gradient, with soft edges."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    wall = 0.6 + 0.2 * x / size
    frames = []
    for discs in places:
        image = wall.clone()
        for cx, cy in discs:
            cover = (radius + 0.5 - torch.hypot(x - cx, y - cy)).clamp(0, 1)
            image = image * (1 - cover) + 0.1 * cover
        frames.append(image.expand(3, -1, -1))
    return Clip(frames=torch.stack(frames)[None], fps=torch.tensor([25.0]), prompts=("",))


def falling(frames: int = 30) -> list[tuple[float, float]]:
    return [(20 + 1.5 * t, 10 + 0.08 * t**2) for t in range(frames)]


def report_of(clip: Clip) -> PhysicsReport:
    found = track_motion(clip).trajectory
    expected = expected_presence(found, torch.zeros_like(found.present[0]), *clip.frames.shape[-2:])
    return assess(found, clip="test", source="readout", expected=expected)


def test_a_falling_disc_is_found_where_it_is():
    found = track_motion(paint([[place] for place in falling()])).trajectory
    assert found.position.shape[2] == 1 and found.present.all() and not found.metric
    place = torch.tensor(falling(), dtype=torch.float64)
    torch.testing.assert_close(found.position[0, :, 0, 0], place[:, 0], rtol=0, atol=0.1)
    torch.testing.assert_close(found.position[0, :, 0, 2], -place[:, 1], rtol=0, atol=0.1)
    assert found.extent[0, 0, 0].item() == pytest.approx(4, rel=0.15)
    assert report_of(paint([[place] for place in falling()]))["ballistic_residual"].value < 0.003


def test_a_wide_video_is_shrunk_and_its_tracks_are_scaled_back():
    small = paint([[place] for place in falling(12)])
    wide = replace(small, frames=small.frames.repeat_interleave(7, -1).repeat_interleave(7, -2))
    place = torch.tensor(falling(12), dtype=torch.float64) * 7 + 3
    found = track_motion(wide).trajectory
    torch.testing.assert_close(found.position[0, :, 0, 0], place[:, 0], rtol=0, atol=0.8)


def test_two_discs_keep_their_names_when_they_pass():
    places = [[(10 + 2.5 * t, 30), (85 - 2.0 * t, 50)] for t in range(30)]
    found = track_motion(paint(places)).trajectory
    assert found.position.shape[2] == 2
    ends = sorted((float(found.position[0, 0, i, 0]), float(found.position[0, 29, i, 0])) for i in range(2))
    np.testing.assert_allclose(ends, [(10, 82.5), (85, 27)], atol=0.3)
    assert report_of(paint(places))["permanence"].value == 1


def test_vanishing_and_appearing_inside_the_image_cost_permanence():
    half = [[place] if t < 15 else [] for t, place in enumerate(falling())]
    assert report_of(paint(half))["permanence"].value == pytest.approx(0.5)
    doubled = [[p, (70 - t, 60)] if t >= 10 else [p] for t, p in enumerate(falling())]
    report = report_of(paint(doubled))
    assert report["permanence"].value == pytest.approx(1 - 20 / 30)
    leaving = [[(50 + 4 * t, 40)] for t in range(15)]  # out of the image on the right: that is allowed
    assert report_of(paint(leaving))["permanence"].value == 1


def births_of(clip: Clip) -> float | None:
    found, (height, width) = track_motion(clip).trajectory, clip.frames.shape[-2:]
    return check_births(found, exits(found, None, height, width)).value


def behind(clip: Clip, columns: slice) -> Clip:
    """The same discs, passing before a thin post of their own color."""
    frames = clip.frames.clone()
    frames[..., columns] = 0.1
    return replace(clip, frames=frames)


def test_an_object_before_something_of_its_own_color_stays_one():
    flight = [(16 + 2.0 * t, 20 + 0.06 * (t - 12) ** 2) for t in range(30)]
    clip = behind(paint([[place] for place in flight], radius=7.0), slice(50, 52))
    report = report_of(clip)
    assert track_motion(clip).trajectory.position.shape[2] == 1
    assert report["permanence"].value == 1 and births_of(clip) == 0
    assert report["ballistic_residual"].value < 0.01
    # A copy that comes off the disc is born all the same, once it lies beyond its outline.
    doubled = [
        [(16 + 1.5 * t, 40), *([(16 + 1.5 * t, 40 + 1.5 * (t - 14))] if t > 14 else [])] for t in range(30)
    ]
    assert report_of(paint(doubled, radius=5.0))["permanence"].value == pytest.approx(1 - 8 / 30)
    assert births_of(paint(doubled, radius=5.0)) == 1


def test_where_a_wall_of_its_own_color_hides_a_part_the_middle_is_not_known():
    flight = [(16 + 2.0 * t, 20 + 0.06 * (t - 12) ** 2) for t in range(30)]
    torn = track_motion(behind(paint([[place] for place in flight], radius=7.0), slice(44, 52))).torn
    assert torn is not None and torn[12:22].any() and not torn[:8].any()
    alone = track_motion(paint([[place] for place in falling()])).torn
    assert alone is not None and not alone.any()


def reaching(clip: Clip) -> Clip:
    """An arm that reaches into the image from the left, sinks, and draws back; the edge itself stays dim."""
    frames = clip.frames.clone()
    for index, frame in enumerate(frames[0]):
        frame[:, 45 + index : 55 + index, 1 : int(12 + 30 * np.sin(0.1 * index))] = 0.15
    return replace(clip, frames=frames)


def test_what_is_never_seen_whole_is_not_followed():
    with pytest.raises(Untrackable, match="reaches over the border: nothing large is seen whole"):
        track_motion(reaching(paint([[]] * 30)))
    beside = [(40 + 1.2 * t, 12 + 0.03 * t**2) for t in range(30)]
    found = track_motion(reaching(paint([[place] for place in beside], radius=6.0))).trajectory
    assert found.position.shape[2] == 1 and found.present.all()
    place = torch.tensor(beside, dtype=torch.float64)
    torch.testing.assert_close(found.position[0, :, 0, 0], place[:, 0], rtol=0, atol=0.3)
    cold = paint([[(2.0, 10 + 2.5 * t)] for t in range(30)])  # half of it lies beyond the border
    with pytest.raises(Untrackable, match="nothing large is seen whole in 6 frames"):
        track_motion(cold)


def test_slow_changes_of_light_are_no_motion():
    clip = paint([[place] for place in falling()])
    light = torch.linspace(1.0, 0.6, 30)[None, :, None, None, None]
    found = track_motion(replace(clip, frames=clip.frames * light)).trajectory
    assert found.position.shape[2] == 1 and found.present.float().mean() > 0.95


def test_what_cannot_be_tracked_is_refused_with_the_reason():
    with pytest.raises(Untrackable, match="nothing moves"):
        track_motion(paint([[(40, 40)]] * 12))
    pan = paint([[(40, 40)]] * 12)
    texture = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    texture = texture.repeat_interleave(8, -1).repeat_interleave(8, -2)
    moving = torch.stack([texture[:, :96, 10 * t : 10 * t + 96] for t in range(12)])[None]
    with pytest.raises(Untrackable, match="the camera moves"):
        track_motion(replace(pan, frames=moving))
    jumping = [[((37 * t) % 90, (53 * t) % 90)] for t in range(12)]
    with pytest.raises(Untrackable, match="broken track"):
        track_motion(paint(jumping, radius=2.5))
    with pytest.raises(Untrackable, match="at least 6 frames; the video has 4"):
        track_motion(paint([[place] for place in falling(4)]))
    with pytest.raises(ValueError, match="takes one clip; got 2"):
        track_motion(
            replace(pan, frames=moving.repeat(2, 1, 1, 1, 1), fps=pan.fps.repeat(2), prompts=("",) * 2)
        )


@cache
def film(name: str) -> Clip:
    with av.open(str(REAL / name)) as container:
        rate = float(container.streams.video[0].average_rate)
        frames = [
            frame.reformat(
                width=WIDTH, height=WIDTH * frame.height // frame.width, format="rgb24"
            ).to_ndarray()
            for frame in container.decode(video=0)
        ]
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255
    return Clip(frames=pixels, fps=torch.tensor([rate]), prompts=("",))


@needs_real
@pytest.mark.parametrize(
    ("name", "first", "last"), [("falling_ball_real.webm", 0, 39), ("projectile_real.webm", 0, 40)]
)
def test_real_flights_are_parabolas(name, first, last):
    report = report_of(film(name))
    assert report["ballistic_residual"].value < 0.01
    assert f"frames {first}-{last}" in report["ballistic_residual"].note
    assert report["permanence"].value > 0.95 and report["motion"].score > 0.9


@needs_real
def test_a_generated_fall_is_no_parabola():
    assert report_of(film("falling_ball_generated_cogvideo.webm"))["ballistic_residual"].value > 0.015


@needs_real
@pytest.mark.slow
def test_a_generated_fall_that_comes_and_goes_fails():
    report = check_video(REAL / "falling_ball_generated_cogvideo.webm").exhibits[0].report
    assert report["permanence"].score < 0.5 and report["births"].score < 0.5
    assert report["ballistic_residual"].score < 0.5


@needs_real
@pytest.mark.slow
def test_a_generated_fall_with_a_moving_camera_is_refused():
    with pytest.raises(Untrackable, match="the camera moves"):
        track_motion(film("falling_ball_generated_cosmos.webm"))


@needs_real
def test_generated_stillness_is_refused_by_the_motion_gate():
    with pytest.raises(Untrackable, match="nothing moves"):
        track_motion(film("generated_defect_stillness.webm"))


@needs_real
@pytest.mark.slow
def test_a_real_ball_that_passes_dark_things_comes_and_goes_nowhere():
    clip = film("projectile_real.webm")  # a post, a shelf and a box have the ball's color
    assert report_of(clip)["permanence"].value == 1 and births_of(clip) == 0
    assert track_motion(clip).trajectory.present[0, :64].all()


@needs_real
def test_a_throwers_arm_is_not_judged():
    with pytest.raises(Untrackable, match="nothing large is seen whole in 6 frames"):
        track_motion(read_small(REAL / "ball_toss_real.mp4"))


@needs_real
@pytest.mark.slow
def test_a_ball_that_vanishes_while_the_light_turns_is_judged_as_files_are():
    report = check_video(REAL / "generated_defect_disappearance.webm").exhibits[0].report
    assert report["permanence"].value < 0.3 and report["births"].score < 0.5


@needs_real
def test_a_real_throw_before_things_of_its_color_is_right_as_files_are():
    report = check_video(REAL / "projectile_real.webm").exhibits[0].report
    assert report["permanence"].value == 1 and report["births"].value == 0
    assert report["ballistic_residual"].value < 0.01


@needs_real
@pytest.mark.parametrize(("kind", "limit"), [("disappearance", 0.3), ("duplicate", 0.6)])
def test_generated_defects_fail_permanence(kind, limit):
    assert report_of(film(f"generated_defect_{kind}.webm"))["permanence"].value < limit


def fall(frames: int, x: float = 48.0) -> list[tuple[float, float]]:
    return [(x, 12 + 66 * (t / frames) ** 2) for t in range(frames)]


def rest(place: tuple[float, float], frames: int) -> list[tuple[float, float]]:
    return [place] * frames


ROLL = [(10 + 3.0 * t, 48.0) for t in range(26)]
RESTING = {
    "falls 10, rests 20": [[*fall(10), *rest((48, 78), 20)]],
    "falls 10, rests 40": [[*fall(10), *rest((48, 78), 40)]],
    "falls 4, rests 56": [[*fall(5), *rest((48, 78), 55)]],
    "held 40, falls 10": [[*rest((48, 12), 40), *fall(10)]],
    "half and half": [[*fall(15), *rest((48, 78), 15)]],
    "three land one after another": [
        [*fall(8, 20), *rest((20, 78), 52)],
        [*rest((48, 12), 12), *fall(8, 48), *rest((48, 78), 40)],
        [*rest((76, 12), 30), *fall(8, 76), *rest((76, 78), 22)],
    ],
    "stops and goes on": [[*ROLL[:12], *rest(ROLL[12], 40), *ROLL[12:]]],
    "starts later than another": [[*rest((20, 70), 40), *[(20 + 3.0 * t, 70) for t in range(20)]],
                                  [(15 + 1.1 * t, 20) for t in range(60)]],
}  # fmt: skip


@pytest.mark.parametrize("texture", [0.0, 0.15])
@pytest.mark.parametrize("name", RESTING)
def test_what_rests_is_there(name, texture):
    paths = RESTING[name]
    clip = paint([list(places) for places in zip(*paths, strict=True)], radius=6.0)
    noise = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0)) - 0.5
    clip = replace(clip, frames=(clip.frames + texture * noise * (clip.frames > 0.3)).clamp(0, 1))
    found = track_motion(clip).trajectory
    assert found.position.shape[2] == len(paths) and found.present.all()
    assert report_of(clip)["permanence"].value == 1 and births_of(clip) == 0


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("after landing", [[*fall(10), *rest((48, 78), 10), *[None] * 20]]),
        ("after a long rest", [[*fall(10), *rest((48, 78), 40), *[None] * 6]]),
        ("for a while", [[*fall(10), *rest((48, 78), 15), *[None] * 8, *rest((48, 78), 15)]]),
        ("pops up", [[*[None] * 15, *fall(15), *rest((48, 78), 10)]]),
        ("never moved", [[*rest((20, 50), 20), *[None] * 20], [(70, 15 + 1.8 * t) for t in range(40)]]),
        ("pops up and stays", [[*[None] * 20, *rest((20, 50), 20)], [(70, 15 + 1.8 * t) for t in range(40)]]),
    ],
)
def test_what_vanishes_or_pops_up_at_rest_fails(name, paths):
    clip = paint([[place for place in places if place] for places in zip(*paths, strict=True)], radius=6.0)
    assert report_of(clip)["permanence"].score < 0.5, name
    assert births_of(clip) >= 1
