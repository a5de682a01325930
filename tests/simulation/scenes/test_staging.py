from dataclasses import replace

import numpy as np
import pytest

from worldgen.simulation.engine import model_of, mujoco
from worldgen.simulation.scenes.families import (
    damping_of_restitution,
    draw_scene,
    restitution_of_damping,
)
from worldgen.simulation.scenes.staging import build


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


@pytest.mark.parametrize("clearance", [0.25, 0.6, 1.2, 1.65])
@pytest.mark.parametrize("restitution", [0.2, 0.3, 0.5, 0.7, 0.85, 0.95])
def test_a_bounce_gives_back_what_is_asked_to_five_hundredths(restitution: float, clearance: float) -> None:
    """Speeds on leaving and on meeting the floor; gravity presses meanwhile, so a little less comes back."""
    scene = draw_scene("drop", 0)
    ball = replace(scene.things[0], restitution=restitution)
    ball = replace(ball, position=(0.0, 0.0, ball.radius + clearance))
    model = model_of(build((ball,), scene.setting).to_xml())
    data, meeting, leaving = mujoco.MjData(model), 0.0, 0.0
    while not leaving:
        before = float(data.qvel[2])
        mujoco.mj_step(model, data)
        meeting = meeting or (-before if data.ncon else 0.0)
        leaving = float(data.qvel[2]) if meeting and not data.ncon else 0.0
    assert leaving / meeting == pytest.approx(restitution, abs=0.05)
