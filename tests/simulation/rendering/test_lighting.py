"""Lights, backgrounds, OpenGL, and which renderer draws."""

import numpy as np
import pytest

from worldgen.simulation.engine import model_of
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.lighting import (
    BACKGROUNDS,
    LIGHTS,
    Gradient,
    Light,
    hang_background,
    set_light,
)
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rendering.render import render, render_multiray
from worldgen.simulation.scenes.families import draw_scene


def staged(light: Light | None = None, pattern=None):
    scene = draw_scene("bounce", 3)
    if light is not None:
        for lamp in list(scene.spec.lights):
            scene.spec.delete(lamp)
        set_light(scene.spec, light)
    if pattern is not None:
        hang_background(scene.spec, pattern)
    model = model_of(scene.spec.to_xml())
    return model, model.qpos0[None], camera_of(model)


@pytest.mark.parametrize("light", LIGHTS)
def test_every_light_gives_both_ray_renderers_one_picture(light):
    arguments = staged(LIGHTS[light], BACKGROUNDS["checker"])
    fast, plain = (cast(*arguments, 48) for cast in (render_numba, render_multiray))
    assert np.array_equal(fast.ids, plain.ids)
    assert (np.abs(fast.frames.astype(int) - plain.frames) > 1).mean() < 1e-3


def test_the_light_above_is_the_light_that_families_are_lit_by():
    plain, lit = (render(*staged(light), 32) for light in (None, LIGHTS["above"]))
    assert np.array_equal(plain.frames, lit.frames)


def test_a_lamp_on_the_left_throws_the_shadow_to_the_right():
    places = {}
    for side in ("left", "right"):
        model, qpos, camera = staged(LIGHTS[side])
        film = render(model, qpos, camera, 96)
        away = qpos.copy()
        away[:, 1] = -100.0  # behind the camera
        darker = (render(model, away, camera, 96).frames.astype(int) - film.frames).sum(axis=-1)[0] > 15
        darker &= film.ids[0] < 0
        places[side] = np.argwhere(darker)[:, 1].mean() - np.argwhere(film.ids[0] == 0)[:, 1].mean()
    assert places["left"] > 5 and places["right"] < -5


def test_a_large_lamp_has_soft_shadows_and_a_small_one_hard():
    def levels(radius):
        model, qpos, camera = staged(Light((-6.0, -6.0, 12.0), key=0.5, head=0.0, ambient=0.5, radius=radius))
        floor = render(model, qpos, camera, 96).frames[0, -12:].astype(int).sum(axis=-1)
        return floor, len(np.unique(floor))

    (hard, few), (soft, many) = levels(0.0), levels(1.2)
    assert many > few + 5 and few < 40
    assert np.array_equal(levels(1.2)[0], soft) and not np.array_equal(hard, soft)


def test_backgrounds_change_the_wall_and_nothing_else():
    model, qpos, camera = staged()
    plain = render(model, qpos, camera, 64)
    for pattern in filter(None, BACKGROUNDS.values()):
        model, qpos, camera = staged(pattern=pattern)
        film = render(model, qpos, camera, 64)
        assert np.array_equal(film.ids, plain.ids)
        wall = (np.abs(film.depth - plain.depth) > 1e-6) & (film.ids < 0)
        assert wall.mean() > 0.5 and np.array_equal(film.depth[~wall], plain.depth[~wall])
        assert film.frames[wall].std() > 4 > plain.frames[wall].std()


def test_checker_squares_are_as_wide_as_declared():
    pattern = BACKGROUNDS["checker"]
    model, qpos, camera = staged(pattern=pattern)
    row = render(model, qpos, camera, 256).frames[0, 8].astype(int)[:, 2]
    edges = np.flatnonzero(np.abs(np.diff(row > row.mean())))
    eye = camera.position[0].numpy()
    forward = -camera.rotation[0, :, 2].numpy()
    up = camera.rotation[0, :, 1].numpy()
    tangent = np.tan(np.deg2rad(camera.fovy.item()) / 2)
    ray = forward + up * tangent * (1 - 2 * 8.5 / 256)
    depth = (0.79 - eye[1]) / ray[1]
    pixels = pattern.square / (2 * tangent * depth / 256)
    assert np.diff(edges).mean() == pytest.approx(pixels, rel=0.03) and len(edges) >= 4


def test_other_textures_are_refused_by_name():
    model = model_of(
        '<mujoco><asset><texture name="t" type="cube" builtin="flat" width="8"/>'
        '<material name="t" texture="t"/></asset><worldbody><camera pos="0 0 5"/>'
        '<geom name="die" type="box" size="1 1 1" material="t"/></worldbody></mujoco>'
    )
    for cast in (render_numba, render_multiray):
        with pytest.raises(
            ValueError, match="infinite planes; got another texture on geom die. Use render_gl."
        ):
            cast(model, model.qpos0[None], camera_of(model), 8)


def test_bad_lights_are_named():
    with pytest.raises(ValueError, match="must not be negative; got key -0.1"):
        Light((0.0, 0.0, 1.0), key=-0.1, head=0.0, ambient=0.5)
    assert isinstance(BACKGROUNDS["gradient"], Gradient)
