import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import worldgen
from worldgen.physics import laws
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene
from worldgen.types import GRAVITY, Trajectory

PACKAGE = Path(worldgen.__file__).parent
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


def throw(frames: int = 12, gravity: float = GRAVITY) -> Trajectory:
    """Two balls in free flight, closed form."""
    t = DT * torch.arange(frames, dtype=torch.float64)[None, :, None, None]
    start = torch.tensor([[-0.5, 0.0, 1.0], [0.7, 0.1, 2.0]], dtype=torch.float64)
    speed = torch.tensor([[1.0, 0.0, 3.0], [-0.4, 0.2, 0.0]], dtype=torch.float64)
    down = torch.tensor([0.0, 0.0, -gravity], dtype=torch.float64)
    return make_trajectory(start + speed * t + down * t**2 / 2, speed + down * t.expand(-1, -1, 2, -1))


def test_free_flight_has_gravity_constant_energy_and_its_own_chord():
    flight = throw()
    down = torch.tensor([0.0, 0.0, -GRAVITY], dtype=torch.float64)
    fit = laws.fit_parabola(flight.position.transpose(1, 2), DT)
    torch.testing.assert_close(fit.acceleration, down.expand(1, 2, 3), rtol=0, atol=1e-10)
    assert laws.gravity_residual(fit.acceleration).max() < 1e-10
    assert laws.ballistic_residual(flight.position.transpose(1, 2)).max() < 1e-12
    torch.testing.assert_close(laws.central_velocity(flight), flight.velocity[:, 1:-1])
    energy = laws.energy(flight)
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy))
    torch.testing.assert_close(laws.chord_energy(flight), energy[:, 1:])
    expected = 1.5 * (0.5 * (0.4**2 + 0.2**2) + GRAVITY * 2.0)
    assert energy[0, 0, 1].item() == pytest.approx(expected)


def test_a_teleport_needs_more_energy_than_there_is():
    flight = throw()
    position = flight.position.clone()
    position[:, 6:, 0, 0] += 0.5
    excess = laws.chord_energy(replace(flight, position=position)) / laws.chord_energy(flight)
    assert excess[0, 5, 0] > 3
    assert excess[0, 4, 0] == pytest.approx(1)


def test_energy_that_appears_is_the_largest_rise():
    assert laws.largest_rise(torch.tensor([5.0, 3.0, 4.0, 1.0, 2.5])).item() == 1.5
    assert laws.largest_rise(-torch.tensor([5.0, 3.0, 4.0, 1.0, 2.5])).item() == 4.0
    torch.testing.assert_close(
        laws.largest_rise(torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])), torch.tensor([0.0, 2.0])
    )


def test_momentum_appears_only_where_something_pushes():
    flight = throw()
    mass = flight.mass[0]
    torch.testing.assert_close(
        laws.momentum_residual(flight.velocity, mass),
        torch.zeros(1, 11, dtype=torch.float64),
        rtol=0,
        atol=1e-12,
    )
    pulled = laws.momentum_residual(flight.velocity, mass, (0, 1, 2))  # the weight of 2 kg
    torch.testing.assert_close(pulled[0], 2.0 * GRAVITY * DT * torch.arange(1, 12, dtype=torch.float64))
    velocity = flight.velocity.clone()
    velocity[:, 5:, 1, 0] += 2.0  # ball 1 weighs 1.5 kg
    residual = laws.momentum_residual(velocity, mass)[0]
    assert residual[3].item() == pytest.approx(0.0, abs=1e-12)
    assert residual[4:].tolist() == pytest.approx([3.0] * 7)
    torch.testing.assert_close(
        laws.momentum(velocity, mass)[0, 0], torch.tensor([-0.1, 0.3, 1.5], dtype=torch.float64)
    )
    expected = 0.5 * 10**0.5 + 1.5 * 0.2**0.5
    assert laws.speed_momentum(velocity, mass)[0, 0].item() == pytest.approx(expected)


def test_falls_from_rest_tell_gravity_and_all_bodies_fall_alike():
    time = torch.tensor([0.4, 0.9], dtype=torch.float64)
    height = 1.62 * time**2 / 2
    torch.testing.assert_close(laws.fall_acceleration(height, time), torch.full_like(time, 1.62))
    assert laws.galileo_ratio(height, time).item() == pytest.approx(1.0)
    assert laws.galileo_ratio(height * torch.tensor([1.0, 3.0]), time).item() == pytest.approx(3.0)
    moon = torch.tensor([0.0, 0.0, -1.62], dtype=torch.float64)
    assert laws.gravity_residual(moon).item() == pytest.approx(1 - 1.62 / GRAVITY)


def test_what_strays_from_a_parabola_is_measured_in_its_range():
    t = torch.arange(-3, 4, dtype=torch.float64)
    x = torch.stack([t, 0 * t, 0.1 * (t**3 - 7 * t)], dim=-1)  # t^3 - 7 t: orthogonal to 1, t and t^2
    span = torch.tensor([6.0, 0.0, 1.2], dtype=torch.float64).norm()
    expected = 0.1 * (t**3 - 7 * t).square().mean().sqrt() / span
    torch.testing.assert_close(laws.ballistic_residual(x), expected)
    torch.testing.assert_close(laws.ballistic_residual(40 * x), expected)


def test_a_damped_sinusoid_leaves_nothing_and_another_one_does():
    t = torch.linspace(0, 2, 40, dtype=torch.float64)
    along = 0.3 + (-0.4 * t).exp() * (0.5 * (5 * t).cos() - 0.2 * (5 * t).sin())
    gamma, omega = torch.tensor([[0.4, 0.4, 0.0], [5.0, 4.0, 5.0]], dtype=torch.float64)
    rest = laws.oscillation_residual(along, t, gamma, omega).norm(dim=-1)
    assert rest[0] < 1e-12 and rest[1] > 0.3 and rest[2] > 0.1
    assert laws.damping_ratio(gamma, omega)[0].item() == pytest.approx(0.4 / (0.4**2 + 5**2) ** 0.5)


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


def test_spin_energy_is_that_of_a_solid_ball_in_any_orientation():
    still = make_trajectory(torch.zeros(1, 1, 1, 3, dtype=torch.float64))
    spin = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 1, 1, 3)
    turned = torch.tensor([0.5, 0.5, -0.5, 0.5], dtype=torch.float64).view(1, 1, 1, 4)
    ball = laws.energy(replace(still, spin=spin, rotation=turned))
    assert ball.item() == pytest.approx(0.5 * 0.4 * 0.5 * 0.2**2 * 14)
    # A quarter turn about z maps the body's x axis to the world's y axis.
    quarter = torch.tensor([2**-0.5, 0.0, 0.0, 2**-0.5], dtype=torch.float64).view(1, 1, 1, 4)
    rod = replace(still, spin=torch.tensor([0.0, 2.0, 0.0]).double().view(1, 1, 1, 3), rotation=quarter)
    inertia = torch.tensor([[[1.0, 10.0, 100.0]]], dtype=torch.float64)
    assert laws.energy(rod, inertia=inertia).item() == pytest.approx(0.5 * 1.0 * 4)


@pytest.mark.parametrize("family", ["drop", "bounce", "collide"])
def test_energy_equals_mujocos_sensor(family):
    played = rollout(draw_scene(family, 3), 16, 25.0)
    ours = laws.energy(played.trajectory)[0].sum(dim=-1)
    torch.testing.assert_close(ours, torch.from_numpy(played.energy), rtol=1e-9, atol=0)


def test_a_cubic_tells_how_much_the_acceleration_changes():
    t = torch.arange(21, dtype=torch.float64)
    path = torch.stack([2 * t, 0 * t, -0.5 * t**2 + 0.01 * t**3], dim=-1)
    found = laws.fit_cubic(path)
    # From -1 to -1 + .06 * 20 = .2 per sample squared, about a mean of -.4.
    assert found.change.item() == pytest.approx(-1.2 / 0.4)
    assert found.noise.item() < 1e-7
    left = laws.fit_parabola(path, 1.0).residual.square().sum(dim=-1).mean().sqrt()
    assert found.strayed.item() == pytest.approx(left.item())
    shaken = path + 0.05 * random(21, 3, seed=4)
    assert laws.fit_cubic(shaken).change.item() == pytest.approx(
        -3, abs=4 * laws.fit_cubic(shaken).noise.item()
    )


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


MASS = torch.tensor([0.5, 1.5], dtype=torch.float64)
LAWS = {
    "central_velocity": (lambda x: laws.central_velocity(make_trajectory(x)), random(1, 4, 2, 3)),
    "fit_parabola": (lambda x: laws.fit_parabola(x, DT).acceleration, random(2, 5, 3)),
    "gravity_residual": (laws.gravity_residual, random(4, 3)),
    "ballistic_residual": (laws.ballistic_residual, random(2, 6, 3)),
    "fit_cubic": (lambda x: laws.fit_cubic(x).change, random(2, 7, 3)),
    "fall_acceleration": (laws.fall_acceleration, random(3), 1 + random(3).abs()),
    "galileo_ratio": (laws.galileo_ratio, 1 + random(3, 2).abs(), 1 + random(3, 2, seed=2).abs()),
    "energy": (lambda x, v: laws.energy(make_trajectory(x, v)), random(1, 4, 2, 3), random(1, 4, 2, 3)),
    "chord_energy": (lambda x: laws.chord_energy(make_trajectory(x)), random(1, 4, 2, 3)),
    "largest_rise": (laws.largest_rise, random(3, 5)),
    "momentum": (lambda v: laws.momentum(v, MASS), random(4, 2, 3)),
    "speed_momentum": (lambda v: laws.speed_momentum(v, MASS), random(4, 2, 3)),
    "momentum_residual": (lambda v: laws.momentum_residual(v, MASS), random(4, 2, 3)),
    "oscillation_residual": (laws.oscillation_residual, random(7), 0.3 * torch.arange(7.0).double(),
                             random(2), 3 + random(2, seed=2)),
    "damping_ratio": (laws.damping_ratio, random(3), 3 + random(3, seed=2)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
def test_gradients_are_right(name):
    law, *inputs = LAWS[name]
    assert torch.autograd.gradcheck(law, [given.clone().requires_grad_() for given in inputs])


@pytest.mark.parametrize("law", [laws.ballistic_residual, laws.momentum, laws.speed_momentum])
def test_gradients_are_finite_where_nothing_is_wrong_or_moves(law):
    still = torch.zeros(5, 2, 3, dtype=torch.float64, requires_grad=True)
    law(*((still.transpose(0, 1),) if law is laws.ballistic_residual else (still, MASS))).sum().backward()
    assert still.grad.isfinite().all()


@pytest.mark.parametrize("law", [laws.chord_energy, laws.energy])
def test_laws_do_not_depend_on_where_north_is(law):
    flight = throw()
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.eye(3, dtype=torch.float64)
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[0, 1], turn[1, 0] = -angle.sin(), angle.sin()
    shift = torch.tensor([3.0, -2.0, 0.0], dtype=torch.float64)
    turned = replace(flight, position=flight.position @ turn.T + shift, velocity=flight.velocity @ turn.T)
    torch.testing.assert_close(law(turned), law(flight))
    mass = flight.mass[0]
    torch.testing.assert_close(
        laws.momentum_residual(turned.velocity + shift, mass, (0, 1, 2)),
        laws.momentum_residual(flight.velocity, mass, (0, 1, 2)),
    )


def public_functions(source: str) -> set[str]:
    found = (node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return {name for name in found if not name.startswith("_")}


def used_names(source: str, module: str) -> set[str]:
    """What a file imports from a module and then names."""
    tree = ast.parse(source)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == module
        for alias in node.names
    }
    return imported & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("module", ["laws", "contact_laws"])
def test_every_law_is_measured_by_a_check(module):
    """What the regularizer may differentiate is what a report measures."""
    files = [path for room in ("checks", "tracking") for path in (PACKAGE / "metrics" / room).glob("*.py")]
    used = set().union(*(used_names(path.read_text(), f"worldgen.physics.{module}") for path in files))
    unused = public_functions((PACKAGE / "physics" / f"{module}.py").read_text()) - used
    assert not unused, (
        f"no check measures {', '.join(sorted(unused))} of physics/{module}.py: call or delete."
    )


def test_a_law_that_is_only_imported_is_not_used():
    source = "from worldgen.physics.laws import momentum, energy\nvalue = energy(x)"
    assert used_names(source, "worldgen.physics.laws") == {"energy"}


def test_every_law_has_its_gradient_tested():
    named = public_functions((PACKAGE / "physics" / "laws.py").read_text())
    assert named - {"acceleration_noise"} == set(LAWS)


def test_gravity_is_written_down_once():
    files = PACKAGE.rglob("*.py")
    found = {
        str(path.relative_to(PACKAGE))
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == GRAVITY
    }
    assert GRAVITY == 9.81 and found == {"types.py"}


def test_a_parabola_through_frames_at_their_times_is_numpys() -> None:
    rule = np.random.default_rng(0)
    frames = np.array([0, 1, 4, 5, 9, 10, 17])
    places = rule.standard_normal((7, 3))
    fit = laws.fit_parabola(torch.from_numpy(places), 0.04, torch.from_numpy(frames))
    design = np.polynomial.polynomial.polyvander(0.04 * (frames - frames.mean()), 2)
    level, speed, bend = np.linalg.lstsq(design, places, rcond=None)[0]
    torch.testing.assert_close(fit.velocity, torch.from_numpy(speed))
    torch.testing.assert_close(fit.acceleration, torch.from_numpy(2 * bend))
    torch.testing.assert_close(
        fit.residual, torch.from_numpy(places - design @ np.stack([level, speed, bend]))
    )
    spread = 2 * 0.3 * np.linalg.inv(design.T @ design)[2, 2] ** 0.5
    assert laws.acceleration_noise(7, 0.04, 0.3, torch.from_numpy(frames)) == pytest.approx(spread)
    every = torch.arange(7)
    assert laws.acceleration_noise(7, 0.04, 0.3, every) == pytest.approx(
        laws.acceleration_noise(7, 0.04, 0.3)
    )
    cubic = torch.from_numpy(
        np.stack([0 * frames, 0 * frames, -(frames**2) + 0.01 * frames**3], axis=1)
    ).double()
    change = 0.06 * 17 / abs(-2 + 0.06 * frames.mean())
    found = laws.fit_cubic(cubic, torch.from_numpy(frames))
    assert float(found.noise) == pytest.approx(0, abs=1e-6) and -float(found.change) == pytest.approx(
        change, rel=0.2
    )
