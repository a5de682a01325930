from dataclasses import replace

import pytest

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.film import view_of
from worldgen.simulation.scenes.families import NANO
from worldgen.types import Clip


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [simulate_clip(family, seed) for family in NANO for seed in range(4)]


def test_a_film_has_one_camera(clips):
    camera = clips[0].camera
    double = replace(
        camera,
        position=camera.position.expand(2, 3),
        rotation=camera.rotation.expand(2, 3, 3),
        fovy=camera.fovy.expand(2),
    )
    with pytest.raises(ValueError, match="a film has one camera; got a batch of 2"):
        view_of(double, 8)
