import numpy as np
import pytest

from worldgen.simulation.engine import model_of
from worldgen.simulation.scenes.families import (
    damping_of_restitution,
    draw_scene,
    restitution_of_damping,
)


def test_constants_travel_in_the_mjcf():
    for family in ("slide", "pendulum", "cradle"):
        scene = draw_scene(family, 2)
        model = model_of(scene.spec.to_xml())
        assert model.nnumeric == len(scene.setting.constants) > 0
        for name, value in scene.setting.constants:
            np.testing.assert_allclose(model.numeric(name).data, [value], rtol=1e-5)
    assert model_of(draw_scene("drop", 0).spec.to_xml()).nnumeric == 0


def test_damping_gives_back_its_restitution():
    for restitution in (0.2, 0.5, 0.85, 0.999):
        assert restitution_of_damping(damping_of_restitution(restitution)) == pytest.approx(
            restitution, abs=1e-9
        )
