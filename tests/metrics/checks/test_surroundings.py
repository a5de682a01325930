import pytest

from worldgen.metrics.checks.penetration import find_depths, supported_frames
from worldgen.metrics.checks.surroundings import read_surroundings
from worldgen.simulation.clips import simulate_clip
from worldgen.types import GRAVITY


@pytest.mark.parametrize(
    ("family", "shape", "held"),
    [
        ("drop", "ball", False),
        ("slide", "box", False),
        ("pendulum", "ball", True),
        ("dominoes", "box", False),
    ],
)
def test_surroundings_are_read_from_the_scene(family, shape, held):
    clip = simulate_clip(family, 3, size=8)
    world = read_surroundings(clip.scenes[0])
    assert shape in world.shapes and len(world.shapes) == clip.truth.position.shape[2]
    assert all(world.holds(index) == held for index in range(len(world.shapes)))
    assert world.gravity == pytest.approx(GRAVITY) and world.floor == pytest.approx(0.0)
    relative = find_depths(clip.truth, world).relative
    assert relative.max() < 0.25  # the simulator's own contacts


def test_screens_hide_and_ramps_hold():
    hidden = read_surroundings(simulate_clip("occlude", 1, size=8).scenes[0])
    assert len(hidden.screens) == 1 and not hidden.blocks
    ramp = simulate_clip("roll", 1, size=8)
    world = read_surroundings(ramp.scenes[0])
    assert len(world.blocks) == 1 and supported_frames(ramp.truth, world)[0].all()
