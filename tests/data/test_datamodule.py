import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import Dataset

from worldgen.data.cache.cache import describe_source
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.loader import ResumableLoader
from worldgen.data.shards.shards import write_shards
from worldgen.data.transforms import SensorNoise
from worldgen.types import Clip

MakeClip = Callable[..., Clip]


@dataclass(frozen=True)
class Latent:
    number: int


@dataclass(frozen=True)
class Latents:
    numbers: Tensor


class LatentCache(Dataset[Latent]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Latent:
        return Latent(index)


def collate(items: list[Latent]) -> Latents:
    return Latents(torch.tensor([item.number for item in items]))


def make_loader(count: int = 23, batch_size: int = 4, workers: int = 0, seed: int = 5) -> ResumableLoader:
    return ResumableLoader(LatentCache(count), batch_size, collate, seed, workers)


def numbers_of(loader: ResumableLoader) -> list[list[int]]:
    return [batch.numbers.tolist() for batch in loader]


class Recorder(LightningModule):
    """Remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []

    def training_step(self, batch: Latents, index: int) -> Tensor:
        self.seen.append(batch.numbers.tolist())
        return self.weight * batch.numbers.float().mean()

    def transfer_batch_to_device(self, batch: Latents, device: torch.device, dataloader_idx: int) -> Latents:
        return batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder: Path, steps: int, workers: int = 0, resume: Path | None = None, every: int = 1) -> list:
    saver = ModelCheckpoint(folder, "{step}", every_n_train_steps=every, save_top_k=-1)
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        callbacks=[saver],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Recorder()
    trainer.fit(module, make_loader(workers=workers), ckpt_path=resume)
    return module.seen


def test_every_epoch_has_its_own_order_and_every_item_once() -> None:
    loader = make_loader()
    first, second = numbers_of(loader), numbers_of(loader)
    assert len(loader) == len(first) == 5 and first != second
    for epoch in (first, second):
        flat = [number for batch in epoch for number in batch]
        assert len(set(flat)) == 20 and flat != sorted(flat)
    again = make_loader()
    assert [numbers_of(again), numbers_of(again)] == [first, second]
    assert numbers_of(make_loader(seed=6)) != first
    in_order = ResumableLoader(LatentCache(6), 2, collate, shuffle=False)
    assert numbers_of(in_order) == numbers_of(in_order) == [[0, 1], [2, 3], [4, 5]]


def test_an_epoch_that_was_broken_off_is_not_taken_up_again() -> None:
    whole = make_loader()
    wanted = [numbers_of(whole), numbers_of(whole)]
    loader = make_loader()
    for batch, expected in zip(loader, wanted[0][:2], strict=False):
        assert batch.numbers.tolist() == expected
    assert numbers_of(loader) == wanted[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_state_counts_what_was_taken(workers: int) -> None:
    whole = make_loader()
    wanted = [*numbers_of(whole), *numbers_of(whole)]
    for stop in (0, 2, 5, 8):
        loader, taken, state = make_loader(workers=workers), [], {}
        while len(taken) < stop:
            for batch in loader:
                taken.append(batch.numbers.tolist())
                if len(taken) == stop:
                    break
        state = loader.state_dict()  # workers are ahead of what was taken
        resumed = make_loader(workers=workers)
        resumed.load_state_dict(state)
        while len(taken) < 10:
            taken.extend(numbers_of(resumed))
        assert taken == wanted


@pytest.mark.parametrize(("stop", "workers"), [(3, 0), (5, 0), (7, 0), (7, 2)])
def test_a_stopped_training_goes_on_exactly(tmp_path: Path, stop: int, workers: int) -> None:
    whole = train(tmp_path / "whole", 13)
    before = train(tmp_path / "part", stop, workers)
    after = train(tmp_path / "rest", 13, workers, resume=tmp_path / "part" / f"step={stop}.ckpt")
    assert before + after == whole
    assert len(whole) == 13 and len({str(batch) for batch in whole}) == 13


def test_a_killed_training_goes_on_from_an_older_checkpoint(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 13)
    train(tmp_path / "part", 9, every=4)
    after = train(tmp_path / "rest", 13, resume=tmp_path / "part" / "step=8.ckpt")
    assert whole[:8] + after == whole


def test_processes_share_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldgen.data.loader._processes", lambda: 2)
    loader = make_loader(batch_size=3)
    shares = []
    for rank in range(2):
        monkeypatch.setattr("worldgen.data.loader._rank", lambda rank=rank: rank)
        shares.append(loader.batches_of(0))
    flat = [number for share in shares for batch in share for number in batch]
    assert [len(share) for share in shares] == [3, 3] and len(loader) == 3
    assert len(set(flat)) == len(flat) == 18


def test_the_loader_refuses() -> None:
    with pytest.raises(ValueError, match="full batch of 4 for each of 1 processes; the dataset holds 3"):
        make_loader(count=3)
    with pytest.raises(ValueError, match="batch_size >= 1, workers >= 0 and seed >= 0; got 0, 0 and 5"):
        make_loader(batch_size=0)
    state = make_loader().state_dict()
    with pytest.raises(ValueError, match=r"same batches: items was 23 and is 24, seed was 5 and is 6\."):
        make_loader(count=24, seed=6).load_state_dict(state)


@pytest.fixture
def shards(tmp_path: Path, make_clip: MakeClip) -> Path:
    write_shards((make_clip(seed, objects=1 + seed % 2) for seed in range(7)), tmp_path / "shards")
    return tmp_path / "shards"


def test_long_captions_can_be_the_prompts(tmp_path: Path, make_clip: MakeClip) -> None:
    clips = [replace(make_clip(seed), descriptions=(f"at length, {seed}",)) for seed in range(4)]
    write_shards(clips, tmp_path)
    short = ClipDataModule(train=tmp_path)
    long = ClipDataModule(train=tmp_path, val=tmp_path, caption_member="description.txt")
    for source in (long.train_source(), long.val_source()):
        assert [source[number].prompts for number in range(4)] == [clip.descriptions for clip in clips]
    assert short.train_source()[0].prompts == clips[0].prompts
    # What is kept of the same clips with other words is kept apart.
    asked = describe_source(long.train_source()).items() - describe_source(short.train_source()).items()
    assert asked == {("captions", "description.txt")}


def test_data_module(shards: Path) -> None:
    data = ClipDataModule(train=shards, val=str(shards), test=shards, batch_size=3)
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [3, 3]
    assert all(batch.truth.mass.shape == (3, 2) for batch in batches)
    order = [prompt for batch in batches for prompt in batch.prompts]
    again = ClipDataModule(train=shards, batch_size=3).train_dataloader()
    assert order == [prompt for batch in again for prompt in batch.prompts]
    in_order = [prompt for batch in data.val_dataloader() for prompt in batch.prompts]
    assert in_order == [data.val_source()[i].prompts[0] for i in range(7)]
    assert [len(batch) for batch in data.test_dataloader()] == [3, 3, 1]
    assert data.train_source().name(2) == "clip-00000002"


def test_rare_shapes_are_trained_on_and_mixed_ones_validated_on(shards: Path) -> None:
    data = ClipDataModule(train=shards, val=shards, batch_size=3, partial=True)
    assert sorted(len(batch) for batch in data.train_dataloader()) == [1, 3, 3]
    source = data.val_source()
    mixed = [(1, 8, 8) if index in (1, 4) else (3, 8, 8) for index in range(7)]

    class Mixed(Dataset):
        shapes, __len__ = mixed, lambda self: 7

        def __getitem__(self, index: int) -> Clip:
            clip = source[index]
            return Clip(clip.frames[:, : mixed[index][0]], clip.fps, clip.prompts)

    batches = list(data._in_order(Mixed()))
    assert [tuple(batch.frames.shape[:2]) for batch in batches] == [(3, 3), (2, 3), (2, 1)]
    assert batches[0].prompts == tuple(source[index].prompts[0] for index in (0, 2, 3))


def test_data_module_without_folders(shards: Path) -> None:
    data = ClipDataModule(val=shards)
    with pytest.raises(ValueError, match="needs a folder to train on; set data.train"):
        data.train_dataloader()
    with pytest.raises(ValueError, match="needs a folder to test on; set data.test"):
        data.test_dataloader()
    assert ClipDataModule(train=shards).val_dataloader() == []
    with pytest.raises(ValueError, match="asked for; .* holds 3 frames of 8x8"):
        ClipDataModule(train=shards, size=16).train_source()


def test_train_on_something_computed(shards: Path) -> None:
    data = ClipDataModule(train=shards, batch_size=4, seed=5)
    data.train_on(LatentCache(23), collate)
    assert numbers_of(data.train_dataloader()) == numbers_of(make_loader())


class ClipRecorder(Recorder):
    def training_step(self, batch: Clip, index: int) -> Tensor:
        self.seen.append(list(batch.prompts))
        return self.weight * batch.frames.mean()

    def validation_step(self, batch: Clip, index: int) -> None:
        self.log("brightness", batch.frames.mean(), batch_size=len(batch))


def test_the_trainer_takes_the_data_module(shards: Path, tmp_path: Path) -> None:
    def run(steps: int, val: Path | None, resume: Path | None = None) -> list:
        saver = ModelCheckpoint(tmp_path / "saved", "{step}", every_n_train_steps=1, save_top_k=-1)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(max_steps=steps, max_epochs=-1, accelerator="cpu", callbacks=[saver], **quiet)
        module = ClipRecorder()
        trainer.fit(module, datamodule=ClipDataModule(shards, val, batch_size=2), ckpt_path=resume)
        return module.seen

    whole = run(5, val=None)
    assert whole[:4] + run(5, val=shards, resume=tmp_path / "saved" / "step=4.ckpt") == whole


def test_training_clips_of_several_shapes_come_in_buckets(tmp_path: Path, make_clip: MakeClip) -> None:
    write_shards((make_clip(number, frames=3 + number % 2) for number in range(8)), tmp_path)
    batches = list(ClipDataModule(train=tmp_path, batch_size=2).train_dataloader())
    assert sorted(batch.frames.shape[1] for batch in batches) == [3, 3, 4, 4]


def test_noise_is_added_to_training_clips_alone(tmp_path: Path, make_clip: MakeClip) -> None:
    write_shards((make_clip(number) for number in range(2)), tmp_path)
    noise = SensorNoise(read=0.02, shot=0.0)
    data = ClipDataModule(train=tmp_path, val=tmp_path, noise=noise)
    clean, noisy = data.val_source()[1], data.train_source()[1]
    torch.testing.assert_close(noisy.frames, noise(clean, data.val_source().name(1)).frames)
    assert 0.005 < (noisy.frames - clean.frames).std() < 0.025


def test_a_run_goes_on_with_the_same_clips_only(tmp_path: Path, make_clip: MakeClip) -> None:
    for seed, name in enumerate(("one", "other")):
        write_shards((make_clip(10 * seed + number) for number in range(4)), tmp_path / name)
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    state = ClipDataModule(tmp_path / "one", batch_size=2).train_dataloader().state_dict()
    ClipDataModule(tmp_path / "moved", batch_size=2).train_dataloader().load_state_dict(state)
    other = ClipDataModule(tmp_path / "other", batch_size=2).train_dataloader()
    with pytest.raises(ValueError, match=r"the same batches: clips was \w+ and is \w+\. Change it back"):
        other.load_state_dict(state)
    other.load_state_dict({name: value for name, value in state.items() if name != "clips"})  # an older one


def test_fewer_clips_are_other_data(shards: Path) -> None:
    whole = ClipDataModule(train=shards, batch_size=2).train_dataloader()
    fewer = ClipDataModule(train=shards, batch_size=2, clips=2).train_dataloader()
    assert len(fewer) == 1 and len(whole) > 1 and fewer.mark != whole.mark
