import numpy as np
import pytest

from tests.simulation.replay.worlds import world
from worldgen.simulation.engine import model_of
from worldgen.simulation.replay.fitting import Problem, Unknown


@pytest.mark.parametrize("family", ["bounce", "collide"])
def test_slopes_are_finite_differences(family):
    truth, scene = world(family)
    model = model_of(scene)
    model.opt.timestep = 0.002
    count = truth.position.shape[2]
    unknowns = []
    for body in range(count):
        for dof in (0, 2):
            direction = np.zeros(model.nv)
            direction[6 * body + dof] = 1.0
            unknowns.append(Unknown("rate", 1e-3, 5.0, body, direction))
            unknowns.append(Unknown("place", 1e-4, 1.0, body, direction))
    velocity = np.concatenate([[*truth.velocity[0, 0, body].tolist(), 0, 0, 0] for body in range(count)])
    problem = Problem(model, model.qpos0.copy(), velocity, tuple(unknowns), 20)
    none = np.zeros(len(unknowns))
    path = problem.roll(none, 12)
    slope = problem.slope(path, none, 12)
    for number, unknown in enumerate(unknowns):
        moved = none.copy()
        moved[number] = unknown.step
        plain = (problem.roll(moved, 12).position - path.position) / unknown.step
        np.testing.assert_allclose(slope[number], plain, atol=2e-2 * max(np.abs(plain).max(), 1))
