"""The captions of a folder of clips, without the clips."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from worldgen.data.loader import ResumableLoader
from worldgen.data.shards.shards import ShardIndex


class CaptionDataModule(LightningDataModule):
    """Batches of captions, as tuples of text.

    Args:
        train: Folder of shards.
        val: Folder of shards with other clips.
        batch_size: Captions in a batch.
        seed: Decides the order.
    """

    def __init__(self, train: Path, val: Path | None = None, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.train, self.val, self.batch_size, self.seed = train, val, batch_size, seed
        self._chosen: list[str] | None = None

    def captions(self) -> list[str]:
        """Every training caption."""
        return read_captions(self.train)

    def train_on(self, texts: list[str]) -> None:
        """Train on some of the captions, each as often as it stands there."""
        self._chosen = texts

    def train_dataloader(self) -> ResumableLoader:
        texts = self.captions() if self._chosen is None else self._chosen
        return ResumableLoader(_Captions(texts), self.batch_size, collate=tuple, seed=self.seed)

    def val_dataloader(self) -> DataLoader | list:
        if self.val is None:
            return []
        captions, own = _Captions(read_captions(self.val)), torch.Generator()
        return DataLoader(captions, self.batch_size, collate_fn=tuple, generator=own)


def read_captions(folder: Path) -> list[str]:
    """The captions in a folder of shards, read from its index alone."""
    return [entry.caption for entry in ShardIndex(folder).entries]


class _Captions(Dataset[str]):
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> str:
        return self.texts[index]
