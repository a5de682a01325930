"""Lights, backgrounds, OpenGL, and which renderer draws."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from worldgen.simulation.engine import model_of
from worldgen.simulation.rendering import backends as renderers
from worldgen.simulation.rendering import gl
from worldgen.simulation.rendering.backends import hardware_gl, pick_renderer, probe_gl, renderer_name
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.lighting import (
    BACKGROUNDS,
    LIGHTS,
    Gradient,
    Light,
    hang_background,
    set_light,
)
from worldgen.simulation.rendering.render import render, render_multiray, render_numba
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene


@pytest.fixture(scope="module")
def opengl() -> str:
    name = probe_gl()
    if name is None:
        pytest.skip("no OpenGL through EGL on this machine")
    return name


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Sets what the environment asks for, with an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(renderers.VARIABLE, raising=False)
    return lambda name: monkeypatch.setenv(renderers.VARIABLE, name)


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


def test_opengl_draws_what_the_rays_draw(opengl):
    for family, seed in (("collide", 3), ("bounce", 1)):
        played = rollout(draw_scene(family, seed), frames=6, fps=10.0)
        camera = camera_of(played.model)
        rays, film = (cast(played.model, played.qpos, camera, 128) for cast in (render_numba, gl.render_gl))
        objects = (rays.ids >= 0) | (film.ids >= 0)
        assert (rays.ids == film.ids)[objects].mean() > 0.985  # its spheres are made of flat faces
        error = np.abs(rays.depth - film.depth)
        assert np.median(error) < 1e-3 and np.percentile(error, 99) < 6e-3
        assert np.abs(rays.frames.astype(int) - film.frames).mean() < 12


def test_opengl_lays_textures_as_the_rays_do(opengl, tmp_path):
    tiles = np.array(
        [[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]], [[250] * 3, [0] * 3]], np.uint8
    )
    Image.fromarray(np.kron(tiles, np.ones((16, 16, 1), np.uint8))).save(tmp_path / "tiles.png")
    model = model_of(
        '<mujoco><visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual><asset>'
        f'<texture name="t" type="2d" file="{tmp_path}/tiles.png"/>'
        '<material name="t" texture="t" texuniform="true" texrepeat="1 .8"/></asset><worldbody>'
        '<camera pos=".3 .2 5" fovy="40"/><geom type="plane" size="0 0 1" material="t"/></worldbody></mujoco>'
    )
    arguments = model, model.qpos0[None], camera_of(model), 128
    rays, film = (cast(*arguments).frames.astype(int) for cast in (render_numba, gl.render_gl))
    assert (np.abs(rays - film) > 60).mean() < 0.02 and rays.std() > 80


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


def test_a_missing_opengl_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)
    monkeypatch.setattr(gl, "_context", gl._context.__wrapped__)
    sentence = (
        "render_gl needs OpenGL through EGL, which this machine or installation lacks .* unset: rays need"
    )
    with pytest.raises(ValueError, match=sentence):
        gl.render_gl(*staged(), 8)


def test_rays_draw_unless_something_else_is_asked_for(asked, monkeypatch):
    def never(*arguments):
        raise AssertionError("no probe without a request")

    monkeypatch.setattr(renderers, "probe_gl", never)
    assert renderer_name() == "numba" and pick_renderer() is render_numba
    for name, renderer in (("numba", render_numba), ("numpy", render_multiray)):
        asked(name)
        assert renderer_name() == name and pick_renderer() is renderer
    asked("opengl")
    with pytest.raises(
        ValueError, match="WORLDGEN_RENDERER must be one of numba, numpy, egl, auto; got 'opengl'"
    ):
        renderer_name()


def test_opengl_in_software_draws_when_it_is_asked_for_by_name(asked, monkeypatch, tmp_path):
    asked("egl")
    monkeypatch.setattr(renderers, "probe_gl", lambda timeout: None)
    with pytest.raises(ValueError, match="asks for egl, but OpenGL through EGL does not work here. Install"):
        renderer_name()
    next((tmp_path / "worldgen").glob("*")).unlink()
    monkeypatch.setattr(renderers, "probe_gl", lambda timeout: "llvmpipe (LLVM 15)")
    assert renderer_name() == "egl" and pick_renderer() is gl.render_gl and hardware_gl() is None


def test_without_numba_the_numpy_renderer_draws(asked, monkeypatch):
    monkeypatch.setattr(renderers, "render_numba", None)
    monkeypatch.setattr(renderers, "can_draw", None)
    assert renderer_name() == "numpy" and pick_renderer() is render_multiray
    asked("numba")
    with pytest.raises(ValueError, match="asks for numba, which cannot be imported here. Install numba"):
        pick_renderer()


def test_hardware_is_probed_once_and_software_counts_as_none(asked, monkeypatch, tmp_path):
    calls = []
    for found, hardware in (("NVIDIA H200/PCIe", True), ("llvmpipe (LLVM 15)", False), (None, False)):
        for old in (tmp_path / "worldgen").glob("*"):
            old.unlink()
        monkeypatch.setattr(renderers, "probe_gl", lambda timeout, found=found: calls.append(found) or found)
        asked("auto")
        assert [renderer_name() for _ in range(3)] == ["egl" if hardware else "numba"] * 3
        assert hardware_gl() == (found if hardware else None)
        (kept,) = (tmp_path / "worldgen").glob("*")
        assert json.loads(kept.read_text()) == {"renderer": found}
    assert len(calls) == 3


def test_a_driver_that_hangs_or_dies_counts_as_none(monkeypatch):
    monkeypatch.setattr(renderers, "_PROBE", "import time; time.sleep(60)")
    assert probe_gl(timeout=0.2) is None
    monkeypatch.setattr(renderers, "_PROBE", "import os; print('RENDERER=card', flush=True); os.abort()")
    assert probe_gl() is None
    monkeypatch.setattr(renderers, "_PROBE", "print('RENDERER=card')")
    assert probe_gl() == "card"


def test_bad_lights_are_named():
    with pytest.raises(ValueError, match="must not be negative; got key -0.1"):
        Light((0.0, 0.0, 1.0), key=-0.1, head=0.0, ambient=0.5)
    assert isinstance(BACKGROUNDS["gradient"], Gradient)
