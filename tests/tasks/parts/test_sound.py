"""A generator of sound learns from simulated clips, and opens from its run folder."""

from dataclasses import replace

import lightning
import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger

from worldgen.audio.audio_codec import AudioCodec
from worldgen.conditioning import Conditioner
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.physics.readout import ObjectReadout
from worldgen.tasks.parts import sound as sound_code
from worldgen.tasks.parts.sound import SoundTask


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop",), 4, size=16, frames=7, processes=1)
    return folder


def task(cache, seconds=0.28):
    torch.manual_seed(0)
    return SoundTask(
        AudioCodec(bands=8, steps=2),
        ObjectReadout(widths=(8, 8, 8), size=16),
        Conditioner(dim=16, queries=2),
        lambda *sizes: DiT(*sizes, dim=16, depth=1, heads=2, patch=(2, 1, 1)),
        CleanFlowMatching(),
        Sampler(steps=1),
        seconds,
        cache=cache,
    )


def test_it_learns_and_its_checkpoints_hold_nothing_frozen(shards, tmp_path):
    made = task(tmp_path / "cache")
    before = {name: one.clone() for name, one in made.model.named_parameters()}
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=CSVLogger(tmp_path), enable_progress_bar=False,
        check_val_every_n_epoch=None, val_check_interval=2, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(made, ClipDataModule(shards, shards, batch_size=2))
    moved = {name for name, one in made.model.named_parameters() if not torch.equal(one, before[name])}
    assert moved and not any(name.startswith("readout.") for name in moved)
    assert {"val/heard", "val/false"} <= trainer.callback_metrics.keys()
    kept = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    assert kept and not any("readout" in name for name in kept)


def test_clips_that_cannot_be_learned_from_are_refused(shards, tmp_path):
    clip = ShardedClips(shards)[0]
    with pytest.raises(ValueError, match="learns from simulated clips, whose contacts are known"):
        task(tmp_path).encode(replace(clip, truth=None))
    with pytest.raises(ValueError, match=r"must last 0.64 s; got 0.28 s. Lower model.seconds"):
        task(tmp_path, seconds=0.64).encode(clip)
    with pytest.raises(ValueError, match=r"a clip of data.val has none\. Make some"):
        task(tmp_path).validation_step(replace(clip, truth=None), 0)


def test_the_shipped_config_is_that_of_the_task():
    def plain(path):
        with open(path) as file:
            return yaml.safe_load(file)["model"]

    trained, shipped = plain("configs/tasks/sound.yaml"), plain("assets/nano/sound/config.yaml")
    assert trained["denoiser"] == shipped["denoiser"] and trained["process"] == shipped["process"]
    assert AudioCodec(**trained["codec"]).rate == AudioCodec(**shipped["codec"]).rate


def test_clips_are_mirrored_and_slots_exchanged_one_in_two_times():
    """Neither is heard: right becomes left, and how far down, how large and whether stay."""
    read = torch.tensor([[[0.3, 0.1, 0.2, 1.0], [0.7, 0.4, 0.5, 0.9]]]).expand(400, 2, 2, 4)
    turned = sound_code._turned(read, torch.Generator().manual_seed(0))
    mirrored = read * torch.tensor([-1.0, 1, 1, 1])
    kinds = torch.stack([
        (turned == kind).flatten(1).all(dim=1) for kind in (read, mirrored, read.flip(2), mirrored.flip(2))
    ])  # fmt: skip
    assert kinds.sum(dim=0).eq(1).all()
    assert (kinds.sum(dim=1) > 70).all()
