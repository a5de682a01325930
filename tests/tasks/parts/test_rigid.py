import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch.utils.data import DataLoader

from worldgen.physics.flight import Ballistic, ConstantVelocity
from worldgen.physics.rigid import RigidDynamics
from worldgen.physics.rigid_network import GraphRigid, load_rigid
from worldgen.simulation.body_states import play_bodies, stack_bodies
from worldgen.tasks.parts.rigid import (
    RigidTask,
    Spinning,
    claim_ratios,
    lesson_loss,
    make_lessons,
    rigid_errors,
)


def root_mean_square(error):
    return float(error.square().nanmean().sqrt())


@pytest.mark.parametrize(
    ("family", "metres", "degrees"),
    [
        ("slide", 5e-4, 0.2), ("roll", 5e-4, 0.5), ("dominoes", 1e-3, 0.5), ("pendulum", 5e-5, 0.1),
        ("cradle", 5e-3, 0.5),
    ],
)  # fmt: skip
def test_closed_form_is_where_the_simulator_is_and_flight_is_not(family, metres, degrees):
    states = stack_bodies([play_bodies(family, seed, "id", frames=16) for seed in range(2)])
    place, angle = rigid_errors(RigidDynamics(), states)
    assert place.shape[1] == angle.shape[1] == 14
    assert root_mean_square(place) < metres and root_mean_square(angle) < degrees
    for other in (ConstantVelocity(), Ballistic()):
        assert root_mean_square(rigid_errors(other, states)[0]) > 10 * metres


def test_the_shipped_network_is_nearer_than_closed_form_where_balls_strike():
    shipped = load_rigid(Path(__file__).resolve().parents[3] / "assets/nano/rigid")
    for family, share in (("drop", 0.5), ("bounce", 0.6), ("collide", 0.6)):
        states = stack_bodies([play_bodies(family, 600 + seed, "id") for seed in range(6)])
        learned, closed = (
            root_mean_square(rigid_errors(one, states)[0]) for one in (shipped, RigidDynamics())
        )
        assert learned < share * closed, family


def test_what_closed_form_claims_of_struck_bodies_is_honest():
    states = stack_bodies(
        [play_bodies(one, seed, "id") for one in ("bounce", "collide") for seed in range(8)]
    )
    ratio = claim_ratios(RigidDynamics(), states)
    assert len(ratio) > 200
    within = float((ratio < 1).float().mean())
    assert 0.6 < within < 0.9
    assert not len(claim_ratios(RigidDynamics(), play_bodies("projectile", 0, "id")))


def test_what_spins_freely_is_turned_at_its_rate():
    """A ball's spin stays what it is, so that going on turning is exact."""
    states = play_bodies("roll", 0, "id", frames=4)
    still = replace(states.trajectory, velocity=states.trajectory.velocity * 0)
    spin = torch.tensor([0.0, 3.0, 0.0]).expand_as(still.spin)
    t = torch.arange(4) * 0.04 * 3.0 / 2
    rotation = torch.stack([t.cos(), 0 * t, t.sin(), 0 * t], dim=-1)[None, :, None]
    states = replace(states, trajectory=replace(still, spin=spin, rotation=rotation))
    assert rigid_errors(Spinning(ConstantVelocity()), states)[1].max() < 0.1
    kept = rigid_errors(ConstantVelocity(), states)[1][0, :, 0]
    expected = torch.tensor([math.degrees(3.0 * 0.04 * frame) for frame in (1, 2)])
    torch.testing.assert_close(kept, expected, atol=0.1, rtol=0)


def test_who_is_not_there_is_not_counted():
    states = stack_bodies([play_bodies(family, 0, "id", frames=4) for family in ("dominoes", "roll")])
    place, angle = rigid_errors(RigidDynamics(parts=2, rounds=4), states)
    assert torch.equal(place.isnan(), ~states.trajectory.present[:, 2:])
    assert torch.equal(angle.isnan(), place.isnan())


def scenes(split, count, frames=16):
    families = ("collide", "bounce", "dominoes")
    return stack_bodies([play_bodies(one, seed, split, frames) for one in families for seed in range(count)])


def test_lessons_hold_what_is_struck_and_where_it_is_a_frame_later():
    states, network = scenes("train", 2), GraphRigid(width=8)
    lessons = make_lessons(network, states)
    assert 3 < len(lessons) <= 15
    for lesson in lessons:
        step = network.corrected(lesson.blows)
        off = (step.position[lesson.struck] - lesson.position).norm(dim=-1)
        assert len(off) == len(lesson) > 0 and off.max() < 0.1  # no blow is farther off than it takes time
    still = stack_bodies([play_bodies("tumble", 0, "train", 4)])
    assert make_lessons(network, still) == []


def test_a_lesson_is_lost_by_what_it_is_off_in_its_units():
    lesson = make_lessons(GraphRigid(width=8), scenes("train", 1))[0]
    with torch.no_grad():
        right = GraphRigid(width=8).corrected(lesson.blows)
    exact = {name: getattr(lesson, name) for name in ("position", "rotation", "velocity", "spin")}
    for name, value in exact.items():
        getattr(right, name)[lesson.struck] = value
    assert float(lesson_loss(right, lesson, 0.01, 0.25)) < 1e-5
    flipped = replace(right, rotation=-right.rotation)
    assert float(lesson_loss(flipped, lesson, 0.01, 0.25)) < 1e-5
    shifted = replace(right, position=right.position + torch.tensor([0.0, 0.02, 0.0]))
    assert float(lesson_loss(shifted, lesson, 0.01, 0.25)) == pytest.approx(5**0.5 - 1, rel=1e-3)
    faster = replace(right, velocity=right.velocity + torch.tensor([0.5, 0.0, 0.0]))
    assert float(lesson_loss(faster, lesson, 0.01, 0.25)) == pytest.approx(5**0.5 - 1, rel=1e-3)


def test_it_learns_what_closed_form_lacks(tmp_path):
    seed_everything(0)
    network = GraphRigid(width=16, rounds=1)
    lessons = make_lessons(network, scenes("train", 6))

    def lost():
        with torch.no_grad():
            steps = [network.corrected(one.blows) for one in lessons]
        losses = [lesson_loss(step, one, 0.004, 0.04) for step, one in zip(steps, lessons, strict=True)]
        return sum(float(loss) * len(one) for loss, one in zip(losses, lessons, strict=True))

    before = lost()
    trainer = Trainer(
        max_epochs=20, default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(lessons, None, collate_fn=lambda lesson: lesson)
    trainer.fit(RigidTask(network, lr=5e-3, warmup=10), loader)
    assert lost() < 0.8 * before


def test_what_is_unsettled_is_not_learned_from_nor_whom_it_strikes():
    states, network = stack_bodies([play_bodies("collide", seed, "train") for seed in range(4)]), GraphRigid()
    plain = make_lessons(network, states, math.inf)
    lesson = plain[0]
    struck, row = lesson.struck.clone(), lesson.blows.graph.row
    first = int(row[lesson.blows.source[~lesson.blows.static][0]])
    one = torch.zeros(4, states.rounding.shape[1], dtype=torch.bool)
    one.view(-1)[first] = True
    none = torch.zeros_like(one)
    lesson.leave_out(none, none)
    assert torch.equal(lesson.struck, struck)
    lesson.leave_out(none, one)
    assert row[lesson.struck].tolist() == [body for body in row[struck].tolist() if body != first]
    assert len(lesson.position) == len(lesson.size) == len(lesson) == len(struck) - 1
    lesson.leave_out(one, none)
    other = int(row[lesson.blows.target[~lesson.blows.static][0]])
    assert other not in row[lesson.struck].tolist() and len(lesson) == len(struck) - 2
    settled = make_lessons(network, states)
    assert sum(map(len, settled)) > 0 and len(settled) <= len(plain)


def test_a_rate_that_cannot_train_is_refused():
    with pytest.raises(ValueError, match="model.lr must be at least 0"):
        RigidTask(GraphRigid(width=8), lr=-1.0)
    with pytest.raises(ValueError, match="model.place and model.speed must be more than 0; got 0.01 and 0.0"):
        RigidTask(GraphRigid(width=8), place=0.01, speed=0.0)
