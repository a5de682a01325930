from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch.testing import assert_close

from tests.models import NANO
from worldgen.data.batching import stack_clips
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.diffusion.codec import load_codec
from worldgen.encoders.base import fingerprint
from worldgen.physics.readout import ObjectReadout, load_readout
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.parts.readout import ReadoutTask, estimate_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    simulate_shards(folder, ("drop", "collide"), 16, seed=3)
    return folder


@pytest.fixture(scope="module")
def generator():
    return open_run(NANO / "generator")


def train(task, folder, out, steps):
    trainer = Trainer(
        max_steps=steps, default_root_dir=out, accelerator="cpu", logger=True, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
        check_val_every_n_epoch=max(steps // 4, 1),  # at the end: an epoch is four steps
    )  # fmt: skip
    trainer.fit(task, ClipDataModule(train=folder, val=folder, batch_size=8))
    return trainer


def test_training_brings_things_into_sight_and_exports_the_average(tmp_path, folder):
    seed_everything(0)
    task = ReadoutTask(ObjectReadout(widths=(8, 16, 16)), lr=1e-2, warmup=5, average=0.9, cache=tmp_path)
    trainer = train(task, folder, tmp_path, 60)
    told = trainer.callback_metrics
    assert told["val/missed"] < 0.5 and told["val/median_px"] < 3  # untrained it finds nothing
    with task.average.applied():
        frames = simulate_clip("drop", 1, frames=2).frames
        expected = task.readout.eval().look(frames)
    again = load_readout(f"{trainer.log_dir}/readout").look(frames)
    assert_close(again.half_size, expected.half_size, rtol=2e-2, atol=1e-2)


def test_estimates_of_the_generator_are_read_too_and_it_is_in_no_checkpoint(tmp_path, folder, generator):
    readout = ObjectReadout(widths=(8, 8, 8))
    task = ReadoutTask(readout, generator, share=1.0, cache=tmp_path)
    assert readout.codec == fingerprint(load_codec(str(NANO / "codec")))
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    trainer = train(task, folder, tmp_path, 2)
    assert trainer.callback_metrics["val/sigma0.7_missed"] >= 0
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    checkpoint = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(checkpoint)
    assert not any(name.startswith("generator.") for name in checkpoint["state_dict"])
    task.on_load_checkpoint(checkpoint)
    task.load_state_dict(checkpoint["state_dict"])


def test_the_share_of_estimates_and_where_they_come_from_change_the_loss(tmp_path, folder, generator):
    def loss_with(share):
        torch.manual_seed(0)
        task = ReadoutTask(ObjectReadout(widths=(8, 8, 8)), generator, share=share, cache=Path(tmp_path))
        return train(task, folder, tmp_path, 1).callback_metrics["train/loss"]

    assert (loss_with(0.0) - loss_with(1.0)).abs() > 1e-3


def test_an_estimate_without_noise_is_what_the_codec_makes_and_noise_takes_detail_away(generator):
    clip = stack_clips([simulate_clip("drop", 5), simulate_clip("collide", 5)])

    def estimate(level):
        draws = [torch.Generator().manual_seed(row) for row in range(2)]
        return estimate_frames(generator, clip, torch.full((2,), level), draws)

    with torch.no_grad():
        coded = generator.codec.decode(generator.codec.encode(clip), clip)
    assert_close(estimate(0.0), coded, atol=1e-4, rtol=0)
    assert torch.equal(estimate(0.8), estimate(0.8))
    off = [(estimate(level) - clip.frames).abs().mean() for level in (0.0, 0.3, 0.95)]
    assert off[0] < off[1] < off[2]


def test_bad_settings_and_crowded_clips_get_a_sentence(generator):
    with pytest.raises(ValueError, match=r"model.share must be in \[0, 1\].* got 2.0, 2 and 1.0"):
        ReadoutTask(ObjectReadout(widths=(8, 8, 8)), share=2.0)
    task = ReadoutTask(ObjectReadout(slots=1, widths=(8, 8, 8)))
    with pytest.raises(ValueError, match="has 1 slots, and a clip of data.train 2 objects"):
        task.encode(simulate_clip("collide", 1, frames=4))
    with pytest.raises(ValueError, match="the clip lacks one"):
        task.encode(replace(simulate_clip("drop", 1, frames=4), truth=None))
