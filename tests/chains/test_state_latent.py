"""A chain of rooms: flow matching of object states, a little and enough to beat linear regression."""

from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

from worldgen.conditioning import Conditioner
from worldgen.data.batching import stack_clips
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips, SimulatedClips
from worldgen.diffusion.context import hold
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.encoders.t5 import T5
from worldgen.metrics.baselines import LinearRegression, constant_velocity, trajectory_error_px
from worldgen.tasks.generator import WorldGenerator
from worldgen.types import Clip, Trajectory, select

NANO = Path(__file__).resolve().parents[2] / "assets" / "nano"
FAMILIES = ("drop", "bounce", "collide")
KNOWN, SIZE = 2, 8  # pixels are not looked at here: small ones are quick


def trained(folder: Path, steps: int, average: float) -> tuple[WorldGenerator, list[Trajectory]]:
    """A generator of states, and the list to which it adds what it generates."""
    seen = []

    def remember(trajectory, scenes, size):
        seen.append(trajectory)
        return torch.zeros(*trajectory.position.shape[:2], 3, size, size)

    lightning.seed_everything(0)
    model = WorldGenerator(
        codec=StateCodec(objects=2, renderer=remember),
        conditioner=Conditioner(text=T5(str(NANO / "t5")), dim=64, queries=4),
        denoiser=lambda *sizes: DiT(*sizes, dim=128, depth=4, heads=4, patch=(1, 1, 1)),
        process=CleanFlowMatching(shift=3.0),
        sampler=Sampler(steps=8),
        contexts={KNOWN: 1.0},
        lr=1.5e-3,
        average=average,
        cache=folder / "cache",
        sampled=0,
    )
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, ClipDataModule(train=folder / "train", batch_size=32))
    return model, seen


def errors_of(trajectory: Trajectory, clips: Clip) -> np.ndarray:
    return trajectory_error_px(trajectory, clips.truth, clips.camera, 64, 64, KNOWN).numpy()


def rmse(errors: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(errors**2)))


def generated(folder: Path, clips: Clip, steps: int, average: float) -> np.ndarray:
    """Errors of what a generator makes that was trained for some steps, px of 64."""
    model, seen = trained(folder, steps, average)
    with model.average.applied():
        model.model.eval().generate(hold(clips, KNOWN, KNOWN), clips.frames.shape[1], seed=0)
    return errors_of(seen[-1], clips)


def held_out(count: int) -> Clip:
    source = SimulatedClips(FAMILIES, count, seed=4, size=SIZE)
    return stack_clips([source[index] for index in range(count)])


@pytest.mark.slow
def test_states_are_learned_better_than_what_goes_on_as_it_went(tmp_path):
    simulate_shards(tmp_path / "train", FAMILIES, 320, size=SIZE, seed=3)
    clips = held_out(48)
    straight = rmse(errors_of(constant_velocity(clips.truth, KNOWN), clips))
    error = rmse(generated(tmp_path, clips, steps=100, average=0.95))
    print(f"RMSE {error:.2f} px; constant velocity {straight:.2f} px")
    assert error < straight / 2


@pytest.mark.slow  # two minutes and more of a free core
def test_states_are_learned_to_a_pixel_and_better_than_by_linear_regression(tmp_path):
    simulate_shards(tmp_path / "train", FAMILIES, 2400, size=SIZE, seed=3)
    clips = held_out(96)
    errors = generated(tmp_path, clips, steps=1300, average=0.998)

    train = ShardedClips(tmp_path / "train", skip=("depth", "masks", "scene"))
    regression = LinearRegression.fit(
        [train[index].truth for index in range(len(train))],
        [train.index.entries[index].family for index in range(len(train))],
        KNOWN,
    )
    linear = []
    for index in range(96):
        truth = select(clips.truth, slice(index, index + 1))
        camera = select(clips.camera, slice(index, index + 1))
        predicted = regression.predict(truth, FAMILIES[index % 3])
        linear.append(trajectory_error_px(predicted, truth, camera, 64, 64, KNOWN).numpy())
    error, linear_error = rmse(errors), rmse(np.concatenate(linear))
    print(f"RMSE {error:.2f} px, median {np.nanmedian(errors):.2f}; linear regression {linear_error:.2f} px")
    assert error < linear_error
    assert float(np.nanmedian(errors)) < 1.0
