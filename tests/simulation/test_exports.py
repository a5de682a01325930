"""Exports: MuJoCo finds every body where the trajectory has it; Blender's script sets every keyframe."""

import math
import sys
import types
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.engine import mujoco, object_bodies
from worldgen.simulation.exports import blender_script_of, mjcf_of, mocap_mjcf_of
from worldgen.types import Camera, Clip

FAMILIES = ("drop", "topple", "pendulum", "tumble")


@cache
def film(family: str) -> Clip:
    return simulate_clip(family, 3, size=16)


def gone(clip: Clip) -> Clip:
    """The first object is missing in frames 4 to 6."""
    present = clip.truth.present.clone()
    present[:, 4:7, 0] = False
    return replace(clip, truth=replace(clip.truth, present=present))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scened", [True, False])
def test_a_keyframe_puts_every_body_where_it_was(family, scened):
    clip = gone(film(family))
    truth, scene = clip.truth, clip.scenes[0] if scened else None
    model = mujoco.MjModel.from_xml_string(mjcf_of(truth, scene))
    held = mujoco.MjModel.from_xml_string(mocap_mjcf_of(truth, scene))
    assert model.nkey == held.nkey == truth.position.shape[1]
    data, still = mujoco.MjData(model), mujoco.MjData(held)
    bodies = object_bodies(model)
    names = [model.body(body).name for body in bodies]
    fixed = [held.body(name).id for name in names]
    assert len(bodies) == truth.position.shape[2] and held.nv == 0
    motion = np.empty(6)
    for frame in range(model.nkey):
        mujoco.mj_resetDataKeyframe(model, data, frame)
        mujoco.mj_forward(model, data)
        mujoco.mj_resetDataKeyframe(held, still, frame)
        mujoco.mj_kinematics(held, still)
        assert data.time == pytest.approx(frame * float(truth.dt[0]), abs=1e-6)
        for number, body in enumerate(bodies):
            if not truth.present[0, frame, number]:
                assert data.xipos[body, 2] < -900 and still.xipos[fixed[number], 2] < -900
                continue
            place, turn = truth.position[0, frame, number], truth.rotation[0, frame, number].numpy()
            for where in (data.xipos[body], still.xipos[fixed[number]]):
                torch.testing.assert_close(torch.tensor(where).float(), place, rtol=0, atol=2e-5)
            for now in (data.xquat[body], still.xquat[fixed[number]]):
                assert abs(now @ turn) == pytest.approx(1, abs=1e-5)
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, motion, 0)
            torch.testing.assert_close(
                torch.tensor(motion).float(),
                torch.cat([truth.spin[0, frame, number], truth.velocity[0, frame, number]]),
                rtol=1e-4,
                atol=2e-4,
            )


def test_free_bodies_go_on_from_a_keyframe():
    clip = film("drop")
    model = mujoco.MjModel.from_xml_string(mjcf_of(clip.truth, clip.scenes[0]))
    model.opt.timestep = 0.002
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 8)
    mujoco.mj_step(model, data, nstep=100)  # five frames
    where = torch.tensor(data.xipos[object_bodies(model)]).float()
    torch.testing.assert_close(where, clip.truth.position[0, 13], rtol=0, atol=2e-3)


def test_what_rests_on_one_version_of_an_integrator_says_so():
    assert "MuJoCo 4" not in mjcf_of(film("drop").truth, film("drop").scenes[0])
    for family in ("topple", "dominoes"):
        clip = film(family)
        assert "MuJoCo 4" in mjcf_of(clip.truth, clip.scenes[0])


class Thing:
    """A Blender object or datum that remembers its keyframes."""

    def __init__(self, name="", data=None):
        self.name, self.data, self.keyed = name, data, {}
        self.location, self.rotation_quaternion, self.scale = [0, 0, 0], [1, 0, 0, 0], [1, 1, 1]
        self.parent, self.hide_render = None, False

    def keyframe_insert(self, path, frame):
        value = getattr(self, path)
        self.keyed[path, frame] = list(value) if not isinstance(value, bool) else value


class Collection(list):
    def new(self, name, kind=None):
        one = Thing(name, kind)
        bsdf = types.SimpleNamespace(inputs={"Base Color": types.SimpleNamespace(default_value=None)})
        one.node_tree = types.SimpleNamespace(nodes={"Principled BSDF": bsdf})
        self.append(one)
        return one

    def remove(self, one, do_unlink=False):
        list.remove(self, one)

    def link(self, one):
        pass


def fake_blender() -> types.ModuleType:
    bpy = types.ModuleType("bpy")
    bpy.data = types.SimpleNamespace(
        materials=Collection(), objects=Collection(), cameras=Collection(), lights=Collection()
    )
    bpy.data.objects.new("Cube")  # what a new file holds
    render = types.SimpleNamespace(fps=24, fps_base=1.0)
    edit = types.SimpleNamespace(keyframe_new_interpolation_type="BEZIER")
    bpy.context = types.SimpleNamespace(
        object=None,
        collection=types.SimpleNamespace(objects=Collection()),
        scene=types.SimpleNamespace(camera=None, frame_start=0, frame_end=0, render=render),
        preferences=types.SimpleNamespace(edit=edit),
    )

    def add(kind):
        def primitive(**size):
            shape = bpy.data.objects.new(kind, types.SimpleNamespace(materials=[]))
            shape.size = size
            bpy.context.object = shape

        return primitive

    kinds = ("uv_sphere", "plane", "cube", "cylinder")
    mesh = types.SimpleNamespace(**{f"primitive_{kind}_add": add(kind) for kind in kinds})
    bpy.ops = types.SimpleNamespace(mesh=mesh)
    return bpy


def build(script: str, monkeypatch) -> types.ModuleType:
    bpy = fake_blender()
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    exec(compile(script, "scene.py", "exec"), {"__name__": "__main__"})
    return bpy


def named(bpy: types.ModuleType, name: str) -> Thing:
    return next(one for one in bpy.data.objects if one.name == name and one.keyed)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_blender_script_sets_every_keyframe(family, monkeypatch):
    clip = gone(film(family))
    truth = clip.truth
    bpy = build(blender_script_of(truth, clip.scenes[0]), monkeypatch)
    assert not any(one.name == "Cube" for one in bpy.data.objects)
    model = mujoco.MjModel.from_xml_string(clip.scenes[0])
    for number, body in enumerate(object_bodies(model)):
        carrier = named(bpy, model.body(body).name)
        for frame in range(truth.position.shape[1]):
            if not truth.present[0, frame, number]:
                assert ("location", frame + 1) not in carrier.keyed
                continue
            place = torch.tensor(carrier.keyed["location", frame + 1])
            torch.testing.assert_close(place, truth.position[0, frame, number], rtol=0, atol=2e-6)
            turn = torch.tensor(carrier.keyed["rotation_quaternion", frame + 1])
            torch.testing.assert_close(turn, truth.rotation[0, frame, number], rtol=0, atol=2e-6)
        own = [one for one in bpy.data.objects if one.parent is carrier]
        assert own and all(one.data.materials for one in own)
        if number == 0:
            assert [own[0].keyed["hide_render", frame] for frame in (4, 5, 7, 8)] == [
                False,
                True,
                True,
                False,
            ]
        color = own[0].data.materials[0].node_tree.nodes["Principled BSDF"].inputs["Base Color"]
        geom = model.body_geomadr[body]
        assert color.default_value == pytest.approx(model.geom_rgba[geom].tolist(), abs=1e-3)
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end) == (1, 16)
    assert scene.render.fps / scene.render.fps_base == pytest.approx(25)
    assert bpy.context.preferences.edit.keyframe_new_interpolation_type == "LINEAR"
    assert math.degrees(scene.camera.data.angle) == pytest.approx(float(clip.camera.fovy[0]), abs=1e-3)
    assert scene.camera.location == pytest.approx(clip.camera.position[0].tolist(), abs=1e-4)
    w, x, y, z = scene.camera.rotation_quaternion
    forward = [-2 * (x * z + w * y), -2 * (y * z - w * x), -1 + 2 * (x * x + y * y)]
    assert forward == pytest.approx((-clip.camera.rotation[0, :, 2]).tolist(), abs=1e-4)


def test_capsules_have_two_ends_and_a_moving_camera_its_keyframes(monkeypatch):
    clip = film("pendulum")
    path = torch.stack([clip.camera.position + 0.1 * step for step in range(16)], dim=1)
    camera = Camera(path, clip.camera.rotation[:, None].expand(-1, 16, -1, -1), clip.camera.fovy)
    bpy = build(blender_script_of(clip.truth, clip.scenes[0], camera), monkeypatch)
    keyed = bpy.context.scene.camera.keyed
    assert keyed["location", 16] == pytest.approx(path[0, 15].tolist(), abs=1e-4)
    rod = [one for one in bpy.data.objects if one.name.startswith("rod")]
    assert len(rod) == 3  # a capsule: its cylinder, and a ball at each end
    middle, *ends = (np.array(one.location) for one in rod)
    np.testing.assert_allclose((ends[0] + ends[1]) / 2, middle, atol=1e-6)
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(rod[0].size["depth"], rel=1e-4)


def test_bad_trajectories_are_explained():
    clip = film("drop")
    with pytest.raises(ValueError, match="an export needs metres; got pixels"):
        mjcf_of(replace(clip.truth, metric=False))
    broken = clip.truth.position.clone()
    broken[0, 2, 0] = float("nan")
    with pytest.raises(ValueError, match="Trajectory.position must be finite where objects"):
        mocap_mjcf_of(replace(clip.truth, position=broken))
    with pytest.raises(ValueError, match="the scene has 1, and object 1 is present|the scene has 1"):
        mjcf_of(film("topple").truth, film("tumble").scenes[0])
    chain = "<mujoco><worldbody><body><joint/><geom size='.1'/><body><joint/><geom size='.1'/></body></body>"
    with pytest.raises(ValueError, match="hangs on another body"):
        mjcf_of(clip.truth, chain + "</worldbody></mujoco>")
