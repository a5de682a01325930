from dataclasses import replace

import pytest
import torch

from worldgen.physics import laws
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene
from worldgen.types import Trajectory

DT = 0.04


def make_trajectory(position: torch.Tensor, velocity: torch.Tensor | None = None) -> Trajectory:
    batch, frames, count, _ = position.shape
    rotation = torch.zeros(batch, frames, count, 4, dtype=torch.float64)
    rotation[..., 0] = 1
    return Trajectory(
        position=position,
        rotation=rotation,
        velocity=torch.zeros_like(position) if velocity is None else velocity,
        spin=torch.zeros_like(position),
        mass=torch.linspace(0.5, 1.5, count, dtype=torch.float64).expand(batch, count),
        extent=torch.full((batch, count, 3), 0.2, dtype=torch.float64),
        present=torch.ones(batch, frames, count, dtype=torch.bool),
        dt=torch.full((batch,), DT, dtype=torch.float64),
    )


def throw(frames: int = 12, gravity: float = 9.81) -> Trajectory:
    """Two balls in free flight, closed form."""
    t = DT * torch.arange(frames, dtype=torch.float64)[None, :, None, None]
    start = torch.tensor([[-0.5, 0.0, 1.0], [0.7, 0.1, 2.0]], dtype=torch.float64)
    speed = torch.tensor([[1.0, 0.0, 3.0], [-0.4, 0.2, 0.0]], dtype=torch.float64)
    down = torch.tensor([0.0, 0.0, -gravity], dtype=torch.float64)
    return make_trajectory(start + speed * t + down * t**2 / 2, speed + down * t.expand(-1, -1, 2, -1))


def test_free_flight_has_gravity_constant_energy_and_its_own_chord():
    flight = throw()
    down = torch.tensor([0.0, 0.0, -9.81], dtype=torch.float64)
    torch.testing.assert_close(laws.acceleration(flight), down.expand(1, 10, 2, 3), rtol=0, atol=1e-10)
    torch.testing.assert_close(laws.central_velocity(flight), flight.velocity[:, 1:-1])
    energy = laws.energy(flight)
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy))
    torch.testing.assert_close(laws.chord_energy(flight), energy[:, 1:])
    expected = 1.5 * (0.5 * (0.4**2 + 0.2**2) + 9.81 * 2.0)
    assert energy[0, 0, 1].item() == pytest.approx(expected)


def test_a_teleport_needs_more_energy_than_there_is():
    flight = throw()
    position = flight.position.clone()
    position[:, 6:, 0, 0] += 0.5
    excess = laws.chord_energy(replace(flight, position=position)) / laws.chord_energy(flight)
    assert excess[0, 5, 0] > 3
    assert excess[0, 4, 0] == pytest.approx(1)


def test_momentum_appears_only_where_an_impulse_is_missing():
    flight = throw()
    torch.testing.assert_close(
        laws.momentum_residual(flight), torch.zeros(1, 11, dtype=torch.float64), rtol=0, atol=1e-12
    )
    velocity = flight.velocity.clone()
    velocity[:, 5:, 1, 0] += 2.0  # ball 1 weighs 1.5 kg
    kicked = replace(flight, velocity=velocity)
    residual = laws.momentum_residual(kicked)
    assert residual[0, 4].item() == pytest.approx(3.0)
    assert residual[0, 5].item() == pytest.approx(0.0, abs=1e-12)
    impulse = torch.zeros(1, 12, 3, dtype=torch.float64)
    impulse[..., 2] = -9.81 * 2.0 * DT
    impulse[:, 4, 0] = 3.0
    assert laws.momentum_residual(kicked, impulse).max().item() == pytest.approx(0.0, abs=1e-12)


def test_parabola_fit_equals_numpys_and_its_noise_is_as_predicted():
    generator = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(4000, 9, 3, generator=generator, dtype=torch.float64)
    window = throw().position[0, :9, 0] + noise
    fit = laws.fit_parabola(window, DT)
    t = DT * torch.arange(9, dtype=torch.float64)
    basis = torch.stack([torch.ones_like(t), t, t**2], dim=1)
    solution = torch.linalg.lstsq(basis, window[7]).solution
    torch.testing.assert_close(fit.acceleration[7], 2 * solution[2])
    torch.testing.assert_close(fit.velocity[7], solution[1] + 2 * solution[2] * t[4])
    torch.testing.assert_close(fit.residual[7], window[7] - basis @ solution)
    assert fit.acceleration[:, 0].std().item() == pytest.approx(
        laws.acceleration_noise(9, DT, 0.01), rel=0.05
    )
    with pytest.raises(ValueError, match="at least 3 samples; got 2"):
        laws.fit_parabola(window[0, :2], DT)


def test_penetration_is_the_depth_of_overlap():
    position = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    position[0, :, 0] = torch.tensor([0.0, 0.0, 0.15])
    position[0, :, 1] = torch.tensor([0.3, 0.0, 0.15])
    position[0, :, 2] = torch.tensor([5.0, 0.0, 1.0])
    balls = make_trajectory(position)
    torch.testing.assert_close(laws.floor_penetration(balls)[0, 0], torch.tensor([0.05, 0.05, 0.0]).double())
    pairs = laws.pair_penetration(balls)[0, 0]
    assert pairs[0, 1].item() == pytest.approx(0.1)
    torch.testing.assert_close(pairs, pairs.T)
    assert pairs.diagonal().abs().max() == 0 and pairs[2].abs().max() == 0


def test_spin_energy_is_that_of_a_solid_ball_in_any_orientation():
    still = make_trajectory(torch.zeros(1, 1, 1, 3, dtype=torch.float64))
    spin = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 1, 1, 3)
    turned = torch.tensor([0.5, 0.5, -0.5, 0.5], dtype=torch.float64).view(1, 1, 1, 4)
    ball = laws.kinetic_energy(replace(still, spin=spin, rotation=turned))
    assert ball.item() == pytest.approx(0.5 * 0.4 * 0.5 * 0.2**2 * 14)
    # A quarter turn about z maps the body's x axis to the world's y axis.
    quarter = torch.tensor([2**-0.5, 0.0, 0.0, 2**-0.5], dtype=torch.float64).view(1, 1, 1, 4)
    rod = replace(still, spin=torch.tensor([0.0, 2.0, 0.0]).double().view(1, 1, 1, 3), rotation=quarter)
    inertia = torch.tensor([[[1.0, 10.0, 100.0]]], dtype=torch.float64)
    assert laws.kinetic_energy(rod, inertia).item() == pytest.approx(0.5 * 1.0 * 4)


@pytest.mark.parametrize("family", ["drop", "bounce", "collide"])
def test_energy_equals_mujocos_sensor(family):
    played = rollout(draw_scene(family, 3), 16, 25.0)
    ours = laws.energy(played.trajectory)[0].sum(dim=-1)
    torch.testing.assert_close(ours, torch.from_numpy(played.energy), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "law",
    [
        laws.acceleration,
        laws.central_velocity,
        laws.energy,
        laws.chord_energy,
        laws.momentum_residual,
        laws.floor_penetration,
        laws.pair_penetration,
    ],
)
def test_gradients_are_right(law):
    generator = torch.Generator().manual_seed(1)
    position = 0.3 * torch.rand(1, 4, 2, 3, generator=generator, dtype=torch.float64)
    velocity = torch.randn(1, 4, 2, 3, generator=generator, dtype=torch.float64)
    position.requires_grad_(), velocity.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, v: law(make_trajectory(x, v)), (position, velocity))


def test_gradient_of_the_parabola_fit_is_right():
    window = torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: laws.fit_parabola(x, DT).acceleration, (window,))


@pytest.mark.parametrize("law", [laws.chord_energy, laws.momentum_residual, laws.pair_penetration])
def test_laws_do_not_depend_on_where_north_is(law):
    flight = throw()
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.eye(3, dtype=torch.float64)
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[0, 1], turn[1, 0] = -angle.sin(), angle.sin()
    shift = torch.tensor([3.0, -2.0, 0.0], dtype=torch.float64)
    turned = replace(flight, position=flight.position @ turn.T + shift, velocity=flight.velocity @ turn.T)
    torch.testing.assert_close(law(turned), law(flight))
