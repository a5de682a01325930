"""A ball that bounces without a loss, by MuJoCo: for a moment of 22 ms its energy is in the contact."""

import mujoco
import numpy as np
import torch

from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.types import Trajectory

STEP = 1e-4
RADIUS = 0.12
CONTACT = 'solref="-20000 0" solimp="1 1 .001"'
SCENE = f"""
<mujoco><option timestep="{STEP}" integrator="RK4"/><worldbody>
  <geom type="plane" size="5 5 .1" {CONTACT}/>
  <body pos="0 0 1.2"><freejoint/><geom type="sphere" size="{RADIUS}" mass="1" {CONTACT} priority="1"/></body>
</worldbody></mujoco>"""


def bounce(fps: int, late: float = 0.0, seconds: float = 1.2) -> Trajectory:
    """Falls 1.08 m and comes back; ``late`` seconds lie between its release and the first frame."""
    model = mujoco.MjModel.from_xml_string(SCENE)
    data, places = mujoco.MjData(model), []
    for step in range(round((late + seconds) / STEP)):
        since = step - round(late / STEP)
        if since >= 0 and since % round(1 / fps / STEP) == 0:
            mujoco.mj_kinematics(model, data)
            places.append(data.xpos[1].copy())
        mujoco.mj_step(model, data)
    count = len(places)
    return trajectory_of(
        torch.from_numpy(np.array(places))[None, :, None],
        torch.ones(1, count, 1, dtype=torch.bool),
        torch.tensor([1 / fps], dtype=torch.float64),
        extent=torch.full((1, 1, 3), RADIUS, dtype=torch.float64),
        mass=torch.ones(1, 1, dtype=torch.float64),
    )
