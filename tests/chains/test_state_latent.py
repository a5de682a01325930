"""A chain of rooms: flow matching of object states beats linear regression, learned in a minute or two."""

from pathlib import Path

import lightning
import numpy as np
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
from worldgen.metrics.baselines import LinearRegression, trajectory_error_px
from worldgen.tasks.generator import WorldGenerator
from worldgen.types import select

NANO = Path(__file__).resolve().parents[2] / "assets" / "nano"
FAMILIES = ("drop", "bounce", "collide")
KNOWN, SIZE = 2, 8  # pixels are not looked at here: small ones are quick


def test_states_are_learned_to_a_pixel_and_better_than_by_linear_regression(tmp_path):
    simulate_shards(tmp_path / "train", FAMILIES, 2400, size=SIZE, seed=3)
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
        average=0.998,
        cache=tmp_path / "cache",
        sampled=0,
    )
    trainer = lightning.Trainer(
        max_steps=1300,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, ClipDataModule(train=tmp_path / "train", batch_size=32))

    held_out = SimulatedClips(FAMILIES, 96, seed=4, size=SIZE)
    clips = stack_clips([held_out[index] for index in range(len(held_out))])
    with model.average.applied():
        model.model.eval().generate(hold(clips, KNOWN, KNOWN), clips.frames.shape[1], seed=0)
    errors = trajectory_error_px(seen[-1], clips.truth, clips.camera, 64, 64, KNOWN).numpy()

    train = ShardedClips(tmp_path / "train", skip=("depth", "masks", "scene"))
    regression = LinearRegression.fit(
        [train[index].truth for index in range(len(train))],
        [train.index.entries[index].family for index in range(len(train))],
        KNOWN,
    )
    truths = [select(clips.truth, slice(index, index + 1)) for index in range(len(clips))]
    linear = np.concatenate(
        [
            trajectory_error_px(
                regression.predict(truth, FAMILIES[index % 3]),
                truth,
                select(clips.camera, slice(index, index + 1)),
                64,
                64,
                KNOWN,
            ).numpy()
            for index, truth in enumerate(truths)
        ]
    )
    rmse, linear_rmse = (float(np.sqrt(np.nanmean(error**2))) for error in (errors, linear))
    print(f"RMSE {rmse:.2f} px, median {np.nanmedian(errors):.2f}; linear regression {linear_rmse:.2f} px")
    assert rmse < linear_rmse
    assert float(np.nanmedian(errors)) < 1.0
