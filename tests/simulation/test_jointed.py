from worldgen.simulation.clips import simulate_trajectory
from worldgen.simulation.engine import model_of
from worldgen.simulation.jointed import is_articulated
from worldgen.simulation.scenes.families import draw_scene


def test_joints_are_read_where_a_scene_says_that_it_has_them():
    truth = simulate_trajectory("hop", 0, frames=4)
    joints = truth.joints
    assert joints.hinge.tolist() == [[True, False]] and joints.feet.tolist() == [[False, False, True]]
    assert joints.bodies.tolist() == [[[0, 1], [1, 2]]] and joints.angle.shape == (1, 4, 2)
    assert not is_articulated(model_of(draw_scene("pendulum", 0).spec.to_xml()))
    assert simulate_trajectory("pendulum", 0, frames=2).joints is None
