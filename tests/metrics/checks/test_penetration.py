"""How deep bodies sink: closed form for balls and boxes, and MuJoCo's own distance for turned boxes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.metrics.paths import of, path, times
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.penetration import find_depths, supported_frames
from worldgen.metrics.checks.surroundings import Obstacle, Surroundings
from worldgen.metrics.motions import neighbors
from worldgen.simulation.engine import mujoco


def test_two_balls_overlap_by_their_radii_less_their_distance():
    apart = torch.linspace(0.4, 0.1, 16, dtype=torch.float64)
    pair = of(path(0.0, 0.0, 1.0), path(apart, 0.0, 1.0), extent=((0.12,) * 3, (0.2,) * 3))
    depths = find_depths(pair, Surroundings(floor=None))
    expected = (0.32 - apart).clamp(min=0).numpy()
    np.testing.assert_allclose(depths.depth[:, 0], expected, atol=1e-12)
    np.testing.assert_allclose(depths.relative, expected / 0.12, atol=1e-12)


def test_a_ball_in_the_floor_and_the_share_of_frames():
    z = torch.cat([torch.full((12,), 0.5), torch.full((4,), 0.06)]).double()
    ball = of(path(times(16), 0.0, z))
    report = assess(ball, clip="x", source="truth")
    assert report["penetration"].value == pytest.approx(0.5)  # 0.06 of 0.12
    assert report["penetration_share"].value == pytest.approx(4 / 16)
    assert report["penetration"].note.startswith("mean 0.125")
    with_truth = assess(ball, clip="x", source="truth", reference=ball)["penetration"]
    assert "in truth at most 0.500" in with_truth.note


@pytest.mark.parametrize("seed", range(3))
def test_turned_boxes_and_balls_agree_with_mujoco(seed):
    rng = np.random.default_rng(seed)
    frames, half = 24, (0.2, 0.3, 0.12)
    kinds = (("box", half), ("box", (0.15, 0.15, 0.4)), ("sphere", (0.22,)))
    bodies = "".join(
        f'<body><freejoint/><geom type="{kind}" size="{" ".join(map(str, size))}"/></body>'
        for kind, size in kinds
    )
    floor = '<geom type="plane" size="0 0 1"/>'
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{floor}{bodies}</worldbody></mujoco>")
    data = mujoco.MjData(model)
    place = rng.uniform(-0.25, 0.25, (frames, 3, 3)) + [0, 0, 0.3]
    turn = rng.normal(size=(frames, 3, 4))
    turn /= np.linalg.norm(turn, axis=-1, keepdims=True)
    trajectory = of(
        *(torch.from_numpy(place[:, index]) for index in range(3)),
        extent=(half, (0.15, 0.15, 0.4), (0.22,) * 3),
    )
    trajectory = replace(trajectory, rotation=torch.from_numpy(turn)[None])
    found = find_depths(trajectory, Surroundings(shapes=("box", "box", "ball"))).depth
    pairs = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]  # in the order of find_depths
    pairs = sorted(pairs, key=lambda pair: (pair[1], pair[0] != 0, pair[0]))
    for frame in range(frames):
        data.qpos[:] = np.concatenate([place[frame], turn[frame]], axis=1).ravel()
        mujoco.mj_kinematics(model, data)
        for column, (one, two) in enumerate(pairs):
            distance = mujoco.mj_geomDistance(model, data, one, two, 5.0, None)
            assert found[frame, column] == pytest.approx(max(-distance, 0), abs=2e-3), (one, two)
    assert (found > 0.01).sum() > 20


def test_depth_does_not_depend_on_place_or_heading():
    pair = of(path(0.0, 0.0, 1.0), path(0.2, 0.1, 1.0), extent=((0.12,) * 3, (0.2,) * 3))
    world = Surroundings(floor=None)
    moved = replace(pair, position=pair.position[..., [1, 0, 2]] + 3.0)
    np.testing.assert_allclose(find_depths(pair, world).depth, find_depths(moved, world).depth)


def test_a_block_of_the_world_is_solid():
    ball = of(path(0.0, 0.0, 0.7), radius=0.12)
    block = Obstacle(np.array([0.0, 0.0, 0.3]), np.eye(3), np.array([1.0, 1.0, 0.3]))
    depths = find_depths(ball, Surroundings(blocks=(block,)))
    np.testing.assert_allclose(depths.depth.max(axis=1), 0.02, atol=1e-12)
    inside = of(path(0.0, 0.0, 0.55), radius=0.12)
    np.testing.assert_allclose(find_depths(inside, Surroundings(blocks=(block,))).depth.max(axis=1), 0.17)
    assert supported_frames(ball, Surroundings(blocks=(block,))).all()
    assert not supported_frames(ball, Surroundings()).any()


def test_what_cannot_be_judged_says_why():
    ball = of(path(times(16), 0.0, 1.0))
    flat = assess(replace(ball, metric=False), clip="x", source="truth")["penetration"]
    assert "pixels do not tell" in flat.note
    point = assess(of(path(times(16), 0.0, 1.0), radius=0.0), clip="x", source="truth")["penetration"]
    assert "nothing of known size" in point.note
    odd = of(path(times(16), 0.0, 0.05), extent=((0.1, 0.2, 0.3),))
    assert not assess(odd, clip="x", source="truth")["penetration_share"].applies  # nobody names its shape


@pytest.mark.parametrize("floor", [None, 0.0])
def test_a_crowd_is_judged_as_by_all_pairs(monkeypatch, floor):
    dice = torch.Generator().manual_seed(0)
    start, speed = torch.rand(24, 3, generator=dice) * 3 + 0.2, torch.randn(24, 3, generator=dice)
    extent = tuple((0.1 + 0.1 * (index % 3),) * 3 for index in range(24))
    crowd = of(
        *((one + times(16)[:, None] * way).double() for one, way in zip(start, speed, strict=True)),
        extent=extent,
    )
    found = []
    for few in (16, 24):  # by neighbors, and by all pairs
        monkeypatch.setattr(neighbors, "_FEW", few)
        found.append(assess(crowd, clip="x", source="readout", floor=floor))
    assert found[0] == found[1] and found[0]["penetration"].value > 0.1


def test_a_crowd_that_never_meets_is_deep_in_nothing():
    crowd = of(*(path(float(index), 0.0, 1.0) for index in range(20)))
    assert find_depths(crowd, Surroundings(floor=None)).relative.tolist() == [0.0] * 16
    assert assess(crowd, clip="x", source="truth", floor=None)["motion"].value == 0
