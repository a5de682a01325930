import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from worldgen.data.trajectories import TrajectoryDataModule
from worldgen.physics.dynamics import GraphDynamics, load_dynamics
from worldgen.physics.flight import Ballistic
from worldgen.physics.graph import graph_of
from worldgen.tasks.parts.dynamics import DynamicsTask, frames_of, rollout_error, root_mean_square, scenery_of


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


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="noisy in \\[0, 1\\]; got 0.001, 0.1 and 2.0"):
        DynamicsTask(GraphDynamics(width=8), noisy=2.0)
