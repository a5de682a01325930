"""Captions of shards, without their clips."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from worldgen.data.captions import CaptionDataModule, read_captions
from worldgen.data.shards.shards import write_shards
from worldgen.types import Clip

SAID = tuple(f"ball {number}" for number in range(7))


@pytest.fixture
def folder(tmp_path: Path, make_clip: Callable[..., Clip]) -> Path:
    clips = [replace(make_clip(number), prompts=(text,)) for number, text in enumerate(SAID)]
    write_shards(clips, tmp_path / "shards")
    return tmp_path / "shards"


def test_captions_are_read_in_order_from_the_index_alone(folder: Path) -> None:
    for path in folder.glob("*.tar"):
        path.write_bytes(b"\0" * path.stat().st_size)
    assert read_captions(folder) == list(SAID)


def test_every_caption_comes_once_an_epoch_in_an_order_that_the_seed_decides(folder: Path) -> None:
    epochs = []
    for seed in (0, 0, 1):
        batches = CaptionDataModule(folder, batch_size=1, seed=seed).train_dataloader()
        epochs.append([text for batch in batches for text in batch])
    assert sorted(epochs[0]) == sorted(SAID) and epochs[0] == epochs[1] != epochs[2]


def test_validation_is_in_order_and_may_be_left_out(folder: Path) -> None:
    assert CaptionDataModule(folder).val_dataloader() == []
    batches = list(CaptionDataModule(folder, folder, batch_size=4).val_dataloader())
    assert batches == [SAID[:4], SAID[4:]]
