import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from tests.physics.balls import shaken
from worldgen.data.trajectories import TrajectoryDataModule
from worldgen.physics.dynamics import GraphDynamics, load_dynamics
from worldgen.physics.flight import Ballistic, moved
from worldgen.physics.graph import graph_of
from worldgen.tasks.parts.dynamics import (
    DynamicsTask,
    frames_of,
    rollout_error,
    rollout_residual,
    root_mean_square,
    scenery_of,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return TrajectoryDataModule(
        count=24, val_splits=("id", "ood:gravity"), val_count=4, batch_size=32,
        cache=tmp_path_factory.mktemp("states"),
    )  # fmt: skip


def train(task, data, folder, steps):
    trainer = Trainer(
        max_steps=steps, default_root_dir=folder, accelerator="cpu", logger=True, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
        check_val_every_n_epoch=steps,  # a step is an epoch of so few clips
    )  # fmt: skip
    trainer.fit(task, data)
    return trainer


def test_training_lowers_the_error_tells_it_beside_the_baselines_and_exports(tmp_path, data):
    seed_everything(0)
    network = GraphDynamics(width=16)
    torch.nn.init.normal_(network.answer[-1].weight, std=0.5)  # else it begins better than so few steps teach
    task = DynamicsTask(network, lr=5e-3, warmup=5)
    data.setup()
    states = data.open("wide", 24)
    before = root_mean_square(rollout_error(task.dynamics, states))
    trainer = train(task, data, tmp_path, 60)
    assert root_mean_square(rollout_error(task.dynamics, states)) < before
    told = trainer.callback_metrics
    for name in ("id", "gravity", "id_drop", "id_collide"):
        for baseline in ("", "_ballistic", "_constant_velocity"):
            assert told[f"val/{name}{baseline}_px"] >= 0
    assert told["val/id_px"] == pytest.approx(26 * float(told["val/id_m"]))
    again = load_dynamics(f"{trainer.log_dir}/dynamics")
    expected = rollout_error(task.dynamics.eval(), states)
    torch.testing.assert_close(rollout_error(again, states), expected, equal_nan=True)


def test_the_error_of_a_rollout_is_the_distance_from_the_truth_of_those_that_are_there(data):
    states = data.open("id", 4)
    start = frames_of(states.trajectory, 1, 2)
    error = rollout_error(Ballistic(), states)
    assert error.shape == (4, 14, 2)
    assert torch.equal(error.isnan(), ~states.trajectory.present[:, 2:])
    step = Ballistic()(graph_of(start, scenery_of(states)))
    first = (step.position[1] - states.trajectory.position[0, 2, 0]).norm()
    torch.testing.assert_close(error[0, 0, 0], first)


def test_what_is_off_and_what_is_claimed_are_those_of_a_rollout(data):
    states = data.open("id", 4)
    network = shaken(GraphDynamics(width=8)).float()
    residual, deviation = rollout_residual(network, states)
    torch.testing.assert_close(residual.norm(dim=-1), rollout_error(network, states), equal_nan=True)
    start, exact = frames_of(states.trajectory, 1, 2), torch.zeros(4, 2, 2, 2)
    with torch.no_grad():
        rolled, claimed = network.rollout_with_doubt(start, scenery_of(states), 14, exact)
    there = states.trajectory.present[:, 2:]
    torch.testing.assert_close(deviation[there], claimed[:, 1:][there])
    torch.testing.assert_close(
        residual[there], (rolled.position[:, 1:] - states.trajectory.position[:, 2:])[there]
    )
    assert torch.equal(deviation.isnan(), ~there)


def losses(task, data, ahead, steps):
    """Of each step of a training whose rate is 0, and how many times the network was asked."""
    asked, told, batches = [], [], []

    class Watched(DynamicsTask):
        def training_step(self, states, index):
            asked.append(0)
            batches.append(states)
            loss = super().training_step(states, index)
            told.append(loss.detach())
            return loss

    task.__class__ = Watched
    task.dynamics.register_forward_hook(lambda *_: asked.__setitem__(-1, asked[-1] + 1))
    windows = TrajectoryDataModule(count=24, cache=data.cache, batch_size=8, ahead=ahead)
    trainer = Trainer(
        max_steps=steps, default_root_dir=data.cache, accelerator="cpu", logger=False, limit_val_batches=0,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    seed_everything(0)
    trainer.fit(task, windows)
    return asked, told, batches


def test_rollouts_grow_over_the_training_and_are_of_one_step_by_default(data):
    def task(unroll):
        return DynamicsTask(shaken(GraphDynamics(width=8)).float(), lr=0.0, noise=0.0, unroll=unroll)

    assert losses(task(6), data, 6, 8)[0] == [1, 1, 2, 2, 4, 4, 6, 6]
    asked, told, _ = losses(task(1), data, 6, 4)
    assert asked == [1, 1, 1, 1]
    assert torch.equal(told[0], losses(task(6), data, 6, 8)[1][0])  # they begin alike


def test_the_loss_of_a_rollout_is_the_mean_over_its_steps_of_what_it_is_off_and_claims(data):
    network = shaken(GraphDynamics(width=8)).float()
    task = DynamicsTask(network, lr=0.0, noise=0.0, likelihood=0.3, unroll=3)
    _, told, batches = losses(task, data, 3, 3)
    states, expected = batches[2], []
    now, both = frames_of(states.trajectory, 0, 1), torch.zeros(8, 2)
    variance = torch.zeros(8, 2, 2)
    there = states.trajectory.present[:, 0]
    for ahead in (1, 2, 3):
        graph = graph_of(now, scenery_of(states))
        step, body = network(graph), graph.kind == 2
        own = torch.zeros(16, 2).index_copy(0, graph.row[body], step.log_variance[body].exp()).view(8, 2, 2)
        place, speed = variance.unbind(dim=-1)
        place, both = place + 2 * 0.04 * both + 0.04**2 * speed, both + 0.04 * speed
        variance = torch.stack([place, speed], dim=-1) + own
        now = moved(now, graph, step)
        off = torch.stack([
            (now.position[:, 0] - states.trajectory.position[:, ahead]).square().sum(dim=-1) / 0.04**2,
            (now.velocity[:, 0] - states.trajectory.velocity[:, ahead]).square().sum(dim=-1),
        ], dim=-1)[there]  # fmt: skip
        unit = torch.tensor([0.04, 1.0])
        sd = variance[there].sqrt()
        claim = sd / unit * ((off * unit**2) / (2 * sd**2) + 3 * sd.log())
        expected.append((off.sum(dim=-1) + 0.3 * claim.sum(dim=-1)).mean())
    torch.testing.assert_close(told[2], sum(expected).detach() / 3)
    _, claimed = network.rollout_with_doubt(
        frames_of(states.trajectory, 0, 1), scenery_of(states), 3, torch.zeros(8, 2, 2, 2)
    )
    torch.testing.assert_close(claimed[:, 3][there], variance[..., 0].sqrt()[there])


def test_the_gradient_of_a_rollout_goes_through_all_its_steps(data):
    """A last layer that moves nothing in its first step moves nothing later, unless through the past."""
    network = GraphDynamics(width=8)
    task = DynamicsTask(network, lr=0.0, noise=0.0, likelihood=0.0, unroll=2)
    seen = []
    task.on_after_backward = lambda: seen.append(network.answer[-1].weight.grad.clone())
    _, _, batches = losses(task, data, 2, 2)
    states = batches[1]
    rolled = network.rollout(frames_of(states.trajectory, 0, 1), scenery_of(states), 2)
    there = states.trajectory.present[:, 0]

    def off(name, scale):
        error = (getattr(rolled, name)[:, 1:] - getattr(states.trajectory, name)[:, 1:]) / scale
        return error.square().sum(dim=-1)[there[:, None].expand(-1, 2, -1)].mean()

    (expected,) = torch.autograd.grad(off("position", 0.04) + off("velocity", 1.0), network.answer[-1].weight)
    torch.testing.assert_close(seen[1], expected)
    assert expected.abs().max() > 1e-6


def test_windows_that_are_too_short_are_refused(data):
    task = DynamicsTask(GraphDynamics(width=8), unroll=4)
    with pytest.raises(
        ValueError, match="roll-outs of 4 steps takes windows that long; got 3. Set data.ahead"
    ):
        losses(task, data, 3, 2)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="noisy in \\[0, 1\\]; got 0.001, 0.1 and 2.0"):
        DynamicsTask(GraphDynamics(width=8), noisy=2.0)
    with pytest.raises(ValueError, match="model.unroll must be at least 1; got 0"):
        DynamicsTask(GraphDynamics(width=8), unroll=0)
