"""Pixels against geometry, and the two renderers against each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.simulation.rendering.stills import STILL
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.engine import freed_model_of, model_of, mujoco
from worldgen.simulation.rendering.film import camera_of, stage_of, view_of
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rendering.ray_numpy import render_multiray
from worldgen.simulation.rendering.render import _put, film_states, film_trajectory, render
from worldgen.simulation.scenes.families import COLORS, NANO
from worldgen.types import Clip, Trajectory, select


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [simulate_clip(family, seed) for family in NANO for seed in range(4)]


def _centroids(weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean pixel (T N 2) of maps (T N H W)."""
    height, width = weights.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    total = weights.sum(dim=(-2, -1))
    return (
        torch.stack([(weights * x).sum(dim=(-2, -1)), (weights * y).sum(dim=(-2, -1))], dim=-1)
        / total[..., None]
    )


def test_masks_lie_where_the_truth_is_projected(clips):
    for clip in clips:
        expected = clip.camera.project(clip.truth.position, 64, 64)[0]
        torch.testing.assert_close(_centroids(clip.masks[0].float()), expected, rtol=0, atol=0.3)


def test_color_centroids_lie_where_the_truth_is_projected(clips):
    for clip in clips:
        frames = clip.frames[0]
        saturation = frames.amax(dim=1) - frames.amin(dim=1)  # walls and floor are grey
        maps = []
        for n in range(clip.masks.shape[2]):
            near = torch.nn.functional.max_pool2d(clip.masks[0, :, n].float(), 3, 1, 1)
            other = clip.masks[0].any(dim=1) & ~clip.masks[0, :, n]
            maps.append(saturation * near * ~other)
        found = _centroids(torch.stack(maps, dim=1))
        expected = clip.camera.project(clip.truth.position, 64, 64)[0]
        apart = torch.ones(16, dtype=torch.bool)
        if expected.shape[1] == 2:
            apart = (expected[:, 0] - expected[:, 1]).norm(dim=-1) > 16
        torch.testing.assert_close(found[apart], expected[apart], rtol=0, atol=0.22)
        assert (found - expected)[apart].mean(dim=(0, 1)).norm() < 0.18


def test_masks_are_as_large_as_the_balls(clips):
    for clip in clips:
        pixels = clip.masks[0].sum(dim=(-2, -1)).float()  # (T N)
        focal = 32 / np.tan(np.deg2rad(clip.camera.fovy.item()) / 2)
        depth = -((clip.truth.position[0] - clip.camera.position) @ clip.camera.rotation[0])[..., 2]
        expected = np.pi * (focal * clip.truth.extent[0, :, 0] / depth) ** 2
        torch.testing.assert_close(pixels, expected.float(), rtol=0.08, atol=0)


def test_depth_at_a_balls_middle_is_its_front(clips):
    for clip in clips:
        centers = clip.camera.project(clip.truth.position, 64, 64)[0].round().long()
        for t in range(16):
            for n in range(clip.masks.shape[2]):
                x, y = centers[t, n].tolist()
                eye, axes, tangent = view_of(clip.camera, 64)
                local = np.array([(2 * x + 1 - 64) / 64 * tangent, (64 - 2 * y - 1) / 64 * tangent, -1.0])
                ray, offset = axes[0] @ local, eye[0] - clip.truth.position[0, t, n].double().numpy()
                a, b = ray @ ray, offset @ ray
                radius = clip.truth.extent[0, n, 0].double().item()
                front = (-b - np.sqrt(b * b - a * (offset @ offset - radius**2))) / a
                assert clip.depth[0, t, 0, y, x].item() == pytest.approx(front, abs=1e-5)
    assert clips[0].depth.min() > 0 and clips[0].depth.max() < 15


def test_a_balls_pixels_have_its_color(clips):
    for clip in clips[:4]:
        mean = clip.frames[0, 0][:, clip.masks[0, 0, 0]].mean(dim=1)
        expected = torch.tensor(COLORS[clip.prompts[0].split()[1]])
        torch.testing.assert_close(mean / mean.max(), expected / expected.max(), rtol=0, atol=0.06)


def test_a_ball_casts_a_faint_shadow_that_follows_it(clips):
    clip = clips[0]
    hidden = replace(clip.truth, present=torch.zeros_like(clip.truth.present))
    empty = film_trajectory(hidden, clip.scenes, 64)
    darker = (empty - clip.frames)[0].mean(dim=1) > 0.02  # (T H W)
    darker &= torch.nn.functional.max_pool2d(clip.masks[0].any(dim=1).float(), 3, 1, 1) == 0
    for t in range(0, 8):
        columns = darker[t, 52:].any(dim=0).nonzero().float()
        ball = clip.camera.project(clip.truth.position, 64, 64)[0, t, :, 0]
        assert len(columns) and (columns - ball).abs().min(dim=0).values.max() < 2
    assert (empty - clip.frames)[0].mean(dim=1)[darker].max() < 0.2


def test_a_wall_between_eye_and_ball_hides_it():
    extra = '<geom type="box" size=".5 .05 2" pos="-.5 -1 0" rgba=".9 .9 .9 1"/>'
    for text, seen in ((STILL.format(extra=""), True), (STILL.format(extra=extra), False)):
        model = model_of(text)
        film = render(model, model.qpos0[None], camera_of(model), 32)
        assert (film.ids == 0).any() == seen


def test_filming_the_truth_gives_back_the_clip(clips):
    for clip in clips[::3]:
        torch.testing.assert_close(
            film_trajectory(clip.truth, clip.scenes, 64), clip.frames, rtol=0, atol=1 / 255 + 1e-6
        )


def test_filming_moves_what_moved_and_hides_what_is_absent(clips):
    clip = clips[-1]
    position = clip.truth.position.clone()
    position[..., 0] *= -1
    mirrored = film_trajectory(replace(clip.truth, position=position), clip.scenes, 64)
    torch.testing.assert_close(mirrored, clip.frames.flip(-1), rtol=0, atol=1.5 / 255)
    present = clip.truth.present.clone()
    present[:, 8:, 0] = False
    position = torch.where(
        present[..., None], clip.truth.position, torch.full_like(clip.truth.position, torch.nan)
    )
    partly = film_trajectory(replace(clip.truth, present=present, position=position), clip.scenes, 64)
    torch.testing.assert_close(partly[:, :8], clip.frames[:, :8], rtol=0, atol=1.5 / 255)
    where = clip.masks[:, 12, 0]
    gone = (partly[:, 12] - clip.frames[:, 12]).abs().sum(dim=1)[where]
    assert (gone > 0.1).float().mean() > 0.9


def test_filming_ignores_padding_and_keeps_the_batch_apart(clips):
    single, double = clips[4], clips[-1]
    padded = [
        torch.cat([getattr(single.truth, name)] * 2, dim=2)
        for name in ("position", "rotation", "velocity", "spin")
    ]
    truth = replace(
        single.truth,
        **dict(zip(("position", "rotation", "velocity", "spin"), padded, strict=True)),
        mass=single.truth.mass.expand(1, 2),
        extent=single.truth.extent.expand(1, 2, 3),
        present=torch.stack([single.truth.present[..., 0], torch.zeros(1, 16, dtype=torch.bool)], dim=-1),
    )
    torch.testing.assert_close(
        film_trajectory(truth, single.scenes, 64), single.frames, rtol=0, atol=1.5 / 255
    )
    both = replace(
        double.truth,
        **{
            name: torch.cat([getattr(truth, name), getattr(double.truth, name)])
            for name in ("position", "rotation", "velocity", "spin", "mass", "extent", "present", "dt")
        },
        contacts=None,
    )
    frames = film_trajectory(both, single.scenes + double.scenes, 64)
    torch.testing.assert_close(frames, torch.cat([single.frames, double.frames]), rtol=0, atol=1.5 / 255)
    torch.testing.assert_close(film_trajectory(select(both, slice(1, 2)), double.scenes, 64), frames[1:])


def test_off_center_bodies_are_placed_by_their_center_of_mass(clips):
    extra = '<body><freejoint/><geom type="sphere" size=".2" pos=".4 0 0" rgba="1 0 0 1"/></body>'
    model = model_of(STILL.format(extra=extra))
    truth = select(clips[-1].truth, slice(0, 1))
    turn = torch.tensor([0.6, 0.0, 0.8, 0.0]).expand_as(truth.rotation)
    position = torch.tensor([[-0.5, 0.0, 0.8], [0.5, 0.0, 1.0]]).expand_as(truth.position)
    frames = film_trajectory(
        replace(truth, position=position, rotation=turn), (STILL.format(extra=extra),), 64
    )
    red = (frames[0, 0, 0] - frames[0, 0, 1:].amax(dim=0)).clamp(min=0)
    red[:, :38] = 0
    expected = camera_of(model).project(position, 64, 64)[0, 0, 1]
    box = (red > 0.6).float()
    torch.testing.assert_close(_centroids(box[None, None])[0, 0], expected, rtol=0, atol=0.6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda c: film_trajectory(c.truth, (), 64), "needs one scene per clip; got 0 for 1 clips."),
        (lambda c: film_trajectory(c.truth, c.scenes, 0), "size must be at least 1 pixel; got 0."),
        (
            lambda c: film_trajectory(replace(c.truth, metric=False), c.scenes, 8),
            "needs a trajectory in metres",
        ),
        (
            lambda c: film_trajectory(c.truth, (STILL.format(extra=""),), 8),
            "needs a body for every present object; clip 0 has object 1, but its scene has 1 bodies that",
        ),
        (
            lambda c: film_trajectory(replace(c.truth, position=c.truth.position * torch.nan), c.scenes, 8),
            "Trajectory.position must be finite where objects are present",
        ),
        (lambda c: camera_of(model_of("<mujoco/>")), "the scene must have a camera; got an MJCF without"),
        (
            lambda c: stage_of(model_of(c.scenes[0]), np.zeros((2, 3))),
            r"qpos must be \(T 14\) for this model; got",
        ),
        (lambda c: model_of("<mujoco"), "XML"),
    ],
)
def test_bad_arguments_are_named(clips, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(clips[-1])


def test_a_body_on_a_hinge_is_an_object_and_goes_where_the_trajectory_has_it():
    extra = (
        '<body pos="-.2 0 1.9"><joint type="hinge" axis="0 1 0"/>'
        '<geom type="sphere" size=".2" pos="0 0 -.8"/><body pos="0 0 -.3" euler="0 20 0">'
        '<geom type="box" size=".1 .05 .2" mass="0" rgba="1 0 0 1"/></body></body>'
    )
    model = model_of(STILL.format(extra=extra))
    qpos = np.tile(model.qpos0, (2, 1))
    qpos[1, 7] = 0.5
    swung = render(model, qpos, camera_of(model), 64)
    assert (swung.ids == 1).sum() > 100
    data, position, rotation = mujoco.MjData(model), torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 4)
    for frame in range(2):
        data.qpos[:] = qpos[frame]
        mujoco.mj_kinematics(model, data)
        position[0, frame] = torch.from_numpy(data.xipos[1:3])
        rotation[0, frame] = torch.from_numpy(data.xquat[1:3])
    ones = torch.ones(1, 2, 2, dtype=torch.bool)
    still = torch.zeros(1, 2, 2, 3)
    truth = Trajectory(position, rotation, still, still, ones[:, 0].float(), still[:, 0], ones, torch.ones(1))
    text = (STILL.format(extra=extra),)
    footage = film_states(truth, text, 64)
    np.testing.assert_allclose(footage.depth[0, :, 0].numpy(), swung.depth, rtol=0, atol=1e-4)
    assert (np.abs(footage.frames[0].permute(0, 2, 3, 1).numpy() * 255 - swung.frames) > 1.5).mean() < 1e-3
    assert (footage.masks[0, :, 1].numpy() == (swung.ids == 1)).mean() > 0.999
    lifted = replace(truth, position=position + torch.tensor([0.0, 0.0, 0.3]))  # no hinge allows it
    for cast in (render_numba, render_multiray):
        free = freed_model_of(text[0])
        moved = cast(free, _put(lifted, 0, free, camera_of(free)), camera_of(free), 64)
        where = camera_of(model).project(position + torch.tensor([0.0, 0.0, 0.3]), 64, 64)[0, 0, 1]
        assert (np.argwhere(moved.ids[0] == 1).mean(axis=0)[::-1] - where.numpy())[0] == pytest.approx(
            0, abs=0.3
        )
