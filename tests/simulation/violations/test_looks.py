import pytest
import torch

from tests.simulation.violations.films import film, pixels_only, rise
from worldgen.simulation.engine import model_of
from worldgen.simulation.rendering.render import film_states
from worldgen.simulation.violations.graded import (
    CONTEXT_FRAMES,
    LOOKS,
    NotViolable,
    graded_violations,
    recolor,
    swell,
)


def test_a_recolored_ball_ends_in_the_color_of_a_scene_that_has_it():
    clip = film("collide", 1)
    model = model_of(clip.scenes[0])
    geom = model.body_geomadr[model.jnt_bodyid[0]]
    old = model.geom_rgba[geom, :3].copy()
    other = clip.scenes[0].replace(_rgba(old), _rgba((old + 0.5) % 1), 1)
    expected = film_states(clip.truth, (other,), 64, clip.camera).frames
    made = recolor(clip)
    torch.testing.assert_close(made.frames[:, -1], expected[:, -1], rtol=0, atol=1e-6)
    half = recolor(clip, 0.5).frames[:, -1]
    torch.testing.assert_close(half, (expected + clip.frames)[:, -1] / 2, rtol=0, atol=1e-6)
    change = (made.frames - clip.frames).abs().sum(dim=(2, 3, 4))[0]
    assert not change[:5].any() and (change[6:].diff() > 0).all()
    assert made.truth is clip.truth and made.masks is clip.masks and made.depth is clip.depth


def _rgba(color) -> str:
    return 'rgba="' + " ".join(f"{value:.4g}" for value in color)


def test_a_swollen_ball_covers_as_much_more_as_its_square():
    clip = film("collide", 1)
    areas = clip.masks[0, :, 0].sum(dim=(-2, -1)).double()
    made = swell(clip, 0.5)
    grown = made.masks[0, :, 0].sum(dim=(-2, -1)).double() / areas
    assert (grown[:5] == 1).all() and (grown[5:].diff() >= 0).all()
    torch.testing.assert_close(grown[-1].item(), 1.5**2, rtol=0.08, atol=0)
    torch.testing.assert_close(grown[10].item(), (1 + 0.5 * 6 / 11) ** 2, rtol=0.08, atol=0)
    assert made.truth is clip.truth and made.depth[0, -1].sum() < clip.depth[0, -1].sum()  # it comes nearer


@pytest.mark.parametrize("grade", LOOKS, ids=lambda grade: grade.name)
def test_looks_change_after_the_known_frames_and_more_with_strength(grade):
    clip = film("bounce", 2)
    broken = list(graded_violations(clip, (grade,)))[1:]
    assert [one.strength for one in broken] == list(grade.strengths)
    assert all(
        one.context_frames >= CONTEXT_FRAMES and torch.equal(one.clip.frames[:, :5], clip.frames[:, :5])
        for one in broken
    )
    rise([float((one.clip.frames - clip.frames).abs().mean()) for one in broken], 1e-5)
    assert not any(torch.equal(one.clip.frames[:, -1], clip.frames[:, -1]) for one in broken)


def test_what_looks_refuse():
    clip = film("bounce", 2)
    with pytest.raises(NotViolable, match="needs Clip.scenes and Clip.truth"):
        recolor(pixels_only(clip))
    with pytest.raises(NotViolable, match="needs Clip.scenes and Clip.truth"):
        swell(pixels_only(clip))
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]; got 1.5"):
        recolor(clip, 1.5)
    with pytest.raises(ValueError, match="share must be at least 0; got -0.5"):
        swell(clip, -0.5)
