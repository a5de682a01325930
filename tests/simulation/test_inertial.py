"""Inertial sensors against closed forms, and against the trajectory of the clip that they are read in."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.data.batching import stack_clips
from worldgen.data.sources import SimulatedClips
from worldgen.data.transforms import InertialClips, add_imu
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.inertial import IMU_RATE, inertial_signal
from worldgen.simulation.scenes.families import FAMILIES
from worldgen.simulation.violations.refilm import NotViolable
from worldgen.types import GRAVITY, select

G = GRAVITY


def world(body, gravity=-G):
    return f"""<mujoco><option gravity="0 0 {gravity}" timestep="0.001"/><worldbody>
        <geom type="plane" size="0 0 1"/>{body}</worldbody></mujoco>"""


def truth_of(position, rotation=(1.0, 0, 0, 0), velocity=(0.0, 0, 0), spin=(0.0, 0, 0), accelerate=None):
    """Eight frames at 25 per second, in uniform acceleration where one is given."""
    from worldgen.types import Trajectory

    t = torch.arange(8)[None, :, None, None] * 0.04
    accelerate = torch.tensor(accelerate or (0.0, 0, 0))
    velocity = torch.tensor(velocity).expand(1, 8, 1, 3)
    return Trajectory(
        position=torch.tensor(position) + velocity * t + accelerate * t**2 / 2,
        rotation=torch.tensor(rotation).expand(1, 8, 1, 4),
        velocity=velocity + accelerate * t,
        spin=torch.tensor(spin).expand(1, 8, 1, 3),
        mass=torch.ones(1, 1),
        extent=torch.full((1, 1, 3), 0.1),
        present=torch.ones(1, 8, 1, dtype=torch.bool),
        dt=torch.tensor([0.04]),
    )


def turned(rotation, vector):
    """Vectors (... 3) of the world in the frame of a body of quaternion (... 4)."""
    w, v = rotation[..., :1], -rotation[..., 1:]
    cross = torch.linalg.cross(v, vector)
    return vector + 2 * w * cross + 2 * torch.linalg.cross(v, cross)


def test_free_fall_reads_nothing():
    scene = world('<body pos="0 0 5"><freejoint/><geom type="sphere" size="0.1"/></body>')
    signal = inertial_signal(scene, truth_of((0.0, 0, 5), velocity=(1.0, 0, 2.0), accelerate=(0.0, 0.0, -G)))
    assert signal.shape == (8 * 0.04 * IMU_RATE, 6)
    assert_close(signal, torch.zeros(128, 6), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "rotation, up",
    [
        ((1.0, 0, 0, 0), (0.0, 0, 1)),
        ((0.5**0.5, 0.5**0.5, 0, 0), (0.0, 1, 0)),
        ((0.0, 1, 0, 0), (0.0, 0, -1)),
    ],
    ids=["upright", "on its side", "upside down"],
)
def test_rest_reads_gravity_upward_in_the_frame_of_the_body(rotation, up):
    """In a resting body's frame, whichever way it lies."""
    words = " ".join(map(str, rotation))
    # MuJoCo's floor gives a little: at first the box sinks into it.
    scene = world(
        f'<body pos="0 0 0.1" quat="{words}"><freejoint/>'
        '<geom type="box" size=".1 .1 .1" solref="0.01 1"/></body>'
    )
    signal = inertial_signal(scene, truth_of((0.0, 0, 0.1), rotation))
    expected = torch.tensor([*(G * part for part in up), 0.0, 0.0, 0.0])
    assert_close(signal[60:].mean(dim=0), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_gyroscope_reads_the_spin_of_a_tumbling_body(seed):
    """At frames, about which two samples lie evenly; each step of 2 ms shows what was read at its start."""
    clip = simulate_clip("tumble", seed, size=8)
    signal = add_imu(clip).imu[0]
    gyro = (signal[15:-1:16] + signal[16::16])[:14, 3:] / 2  # at the frames 1 to 14
    spin = turned(clip.truth.rotation, clip.truth.spin)[0, :, 0]
    late = (spin[2:] - spin[:-2]) / 0.08 * 0.001
    assert float(late.abs().max()) > 0.003  # it wanders in the body's frame
    assert_close(gyro, spin[1:-1] - late, atol=1.5e-3, rtol=0)
    assert_close(signal[:, :3], torch.zeros(256, 3), atol=1e-4, rtol=0)  # at the center nothing pulls


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_is_read_adds_up_to_the_truths_change_of_velocity(family):
    """``dv = sum of (R a + g) dt`` from frame to frame, with R between frames from the gyroscope."""
    clip = simulate_clip(family, 5, size=8)
    signal, truth = add_imu(clip).imu[0].double(), clip.truth
    gravity = torch.tensor([0, 0, -G if family != "tumble" else 0.0]).double()
    rotation = truth.rotation[0, :, 0].double()
    gained = []
    for frame in range(15):
        turn, total = rotation[frame], torch.zeros(3).double()
        for sample in signal[16 * frame : 16 * frame + 16]:
            half = torch.cat([torch.ones(1).double(), sample[3:] / IMU_RATE / 4])
            middle = multiply(turn, half / half.norm())
            total += (turned(middle * torch.tensor([1, -1, -1, -1]), sample[:3]) + gravity) / IMU_RATE
            whole = torch.cat([torch.ones(1).double(), sample[3:] / IMU_RATE / 2])
            turn = multiply(turn, whole / whole.norm())
        gained.append(total)
    expected = truth.velocity[0, :, 0].double().diff(dim=0)
    blow = float(expected.norm(dim=-1).max())
    assert blow > 0.05 or family in ("tumble", "occlude", "slide", "roll")
    # Forces are read at whole steps: a blow to about a tenth, what carries a rattling box to 4 %.
    carried = 0.04 * G * 15 * 0.04 if family == "slide" else 0.03
    assert_close(torch.stack(gained).sum(dim=0), expected.sum(dim=0), atol=carried + 0.12 * blow, rtol=0)
    calm = signal[:, :3].unflatten(0, (16, 16)).diff(dim=1).abs().amax(dim=(1, 2))[:15] < 20
    assert int(calm.sum()) >= 3
    rough = 0.1 if family == "slide" else 0.03
    assert_close(torch.stack(gained)[calm], expected[calm], atol=rough, rtol=0)


def multiply(p, q):
    w, v, x, u = p[:1], p[1:], q[:1], q[1:]
    return torch.cat([w * x - v @ u, w * u + x * v + torch.linalg.cross(v, u)])


def test_clips_of_a_batch_read_what_they_read_alone():
    source = InertialClips(SimulatedClips(["drop", "dominoes"], 2, size=8, frames=4))
    alone = [source[0], source[1]]
    assert len(source) == 2 and source.name(1).startswith("dominoes")
    together = add_imu(stack_clips([replace(clip, imu=None) for clip in alone]))
    assert_close(together.imu, torch.cat([clip.imu for clip in alone]), atol=0, rtol=0)
    bare = replace(alone[0], scenes=None)
    assert add_imu(bare) is bare


def test_what_cannot_be_read_gets_a_sentence():
    clip = simulate_clip("drop", 2, size=8)
    scene = clip.scenes[0]
    with pytest.raises(
        NotViolable, match="takes one trajectory, and the number of one of its objects; got 1"
    ):
        inertial_signal(scene, clip.truth, body=9)
    elsewhere = replace(clip.truth, position=clip.truth.position.clone())
    elsewhere.position[:, 8:, 0] += 0.1
    with pytest.raises(
        NotViolable, match="must lead to its truth for its sensors to be read; it misses it by"
    ):
        inertial_signal(scene, elsewhere)
    batch = stack_clips([clip, clip])
    with pytest.raises(NotViolable, match="got 2 with"):
        inertial_signal(scene, select(batch.truth, slice(0, 2)))
