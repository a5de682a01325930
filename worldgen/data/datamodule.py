"""The clips that a run trains, validates and tests on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from worldgen.data.batching import stack_clips
from worldgen.data.buckets import BucketLoader, Shaped
from worldgen.data.cache.cache import identify_clips, stack_columns
from worldgen.data.loader import ResumableLoader
from worldgen.data.packing import PackingLoader, pack_columns
from worldgen.data.shards.members import CAPTION
from worldgen.data.sources import ShardedClips, open_source, take_first
from worldgen.data.transforms import NoisyClips, SensorNoise
from worldgen.data.videos import VideoFolder
from worldgen.types import Clip, to_device


@final
class ClipDataModule(LightningDataModule):
    """Folders of shards or of videos, as batches of clips.

    Training clips come in an order that ``seed`` decides and a checkpoint remembers, see `ResumableLoader`;
    validation and test clips come in order, all of them.

    Args:
        train: Folder to train on; of shards or videos, whichever it holds.
        val: Folder to validate on.
        test: Folder to test on.
        batch_size: Clips per batch and process.
        workers: Reading processes, 0 to read in the training process.
        seed: Of the order of the training clips.
        size: Rows and columns of a frame; needed for videos, checked for shards.
        frames: Frames per clip; needed for videos, checked for shards.
        noise: Of a sensor, added to training clips when they are read.
        caption_member: The member of shards whose text is each prompt; description.txt holds long captions.
        clips: Train on the first so many clips only.
        partial: Whether the incomplete batch of each shape is trained on too; needed where a shape has fewer
            clips than a batch.
        power: Batches by compute, where clips differ in shape: 1 bounds the tokens of a batch, 2 attention,
            and ``batch_size`` is that of the largest shape; 0 gives each batch as many clips. See
            `BucketLoader`.
        packed_tokens: Clips of any shapes train in one batch, each at its own size and as if alone, as many
            as have so many of the denoiser's tokens together; ``batch_size`` is that of validation then, and
            ``partial`` has no meaning. Each batch is of one shape when None.
    """

    def __init__(
        self,
        train: str | Path | None = None,
        val: str | Path | None = None,
        test: str | Path | None = None,
        batch_size: int = 16,
        workers: int = 0,
        seed: int = 0,
        size: int | None = None,
        frames: int | None = None,
        noise: SensorNoise | None = None,
        caption_member: str = CAPTION,
        clips: int | None = None,
        partial: bool = False,
        power: float = 0.0,
        packed_tokens: int | None = None,
    ) -> None:
        super().__init__()
        least_of = (
            ("batch_size", batch_size, 1),
            ("workers", workers, 0),
            ("seed", seed, 0),
            ("power", power, 0),
            ("packed_tokens", 1 if packed_tokens is None else packed_tokens, 1),
        )
        for key, value, least in least_of:
            if value < least:
                raise ValueError(f"data.{key} must be at least {least}; got {value}.")
        if packed_tokens is not None and power:
            raise ValueError(
                "data.power is of batches of one shape, and data.packed_tokens packs clips of several; leave "
                "out one or the other."
            )
        self.train, self.val, self.test = train, val, test
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.size, self.frames, self.noise = size, frames, noise
        self.caption_member, self.clips = caption_member, clips
        self.partial, self.power, self.packed_tokens = partial, power, packed_tokens
        self._tokens: Sequence[int] | None = None
        self._instead: tuple[Dataset, Callable[[list], object]] | None = None

    def train_on(self, dataset: Dataset, collate: Callable[[list], object]) -> None:
        """Train on what a task computed of the training clips, item by item, in place of the clips."""
        self._instead = (dataset, collate)

    def train_on_latents(self, latents: Dataset, tokens: Sequence[int]) -> None:
        """Train on the latents of the training clips, packed where that was asked for.

        Args:
            latents: Of each clip.
            tokens: How many the denoiser makes of each.
        """
        self.train_on(latents, stack_columns if self.packed_tokens is None else pack_columns)
        self._tokens = tokens

    def train_source(
        self, skip: tuple[str, ...] = ("depth", "masks", "scene")
    ) -> ShardedClips | VideoFolder | NoisyClips:
        """The training clips as a map-style dataset.

        Args:
            skip: Members of shards left unread: those that few tasks use.

        Raises:
            ValueError: No training folder was named.
        """
        source = self._open_training(skip)
        return source if self.noise is None else NoisyClips(source, self.noise)

    def val_source(self) -> ShardedClips | VideoFolder:
        """The validation clips as a map-style dataset.

        Raises:
            ValueError: No validation folder was named.
        """
        return self._open(self.val, "val")

    def test_source(self) -> ShardedClips | VideoFolder:
        """The test clips as a map-style dataset.

        Raises:
            ValueError: No test folder was named.
        """
        return self._open(self.test, "test")

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, full batches unless ``partial``; of one shape each where the clips have several.

        Raises:
            ValueError: Too few clips for a batch; clips are to be packed where nothing takes them so.
        """
        if self.packed_tokens is not None:
            return self._pack(self.packed_tokens)
        dataset, collate = self._instead or (self.train_source(), stack_clips)
        mark = _mark(self._open_training())
        how = (self.batch_size, collate, self.seed, self.workers)
        if isinstance(dataset, Shaped) and (self.partial or len(set(dataset.shapes)) > 1):
            more = {"partial": self.partial, "power": self.power}
            return BucketLoader(dataset, dataset.shapes, *how, **more, mark=mark)
        return ResumableLoader(dataset, *how, mark=mark)

    def val_dataloader(self) -> DataLoader[Clip] | BucketLoader | list[DataLoader[Clip]]:
        """In order, batches of one shape each; nothing where no folder was named."""
        return [] if self.val is None else self._in_order(self.val_source())

    def test_dataloader(self) -> DataLoader[Clip] | BucketLoader:
        """In order, batches of one shape each."""
        return self._in_order(self.test_source())

    def transfer_batch_to_device(self, batch: Clip, device: torch.device, dataloader_idx: int) -> Clip:
        """Lightning's own transfer writes into what it is given, and our types are frozen."""
        return to_device(batch, device)

    def _pack(self, most: int) -> PackingLoader:
        if self._instead is None or self._tokens is None:
            raise ValueError(
                "data.packed_tokens is for latents that a generator learns from (`worldgen fit`); here "
                "batches are of one shape. Leave it out."
            )
        dataset, collate = self._instead
        mark = _mark(self._open_training())
        return PackingLoader(dataset, self._tokens, most, collate, self.seed, self.workers, mark)

    def _in_order(self, source: ShardedClips | VideoFolder) -> DataLoader[Clip] | BucketLoader:
        if isinstance(source, Shaped) and len(set(source.shapes)) > 1:
            how = (self.batch_size, stack_clips, self.seed, self.workers)
            return BucketLoader(source, source.shapes, *how, shuffle=False, partial=True)
        own = torch.Generator()  # training draws nothing else because of it
        return DataLoader(
            source, self.batch_size, collate_fn=stack_clips, num_workers=self.workers, generator=own
        )

    def _open_training(self, skip: tuple[str, ...] = ()) -> ShardedClips | VideoFolder:
        source = self._open(self.train, "train", skip)
        return source if self.clips is None else take_first(source, self.clips)

    def _open(
        self, folder: str | Path | None, name: str, skip: tuple[str, ...] = ()
    ) -> ShardedClips | VideoFolder:
        if folder is None:
            raise ValueError(f"The data module needs a folder to {name} on; set data.{name}.")
        return open_source(folder, self.size, self.frames, skip, self.caption_member)


def _mark(source: ShardedClips | VideoFolder) -> str:
    """Names the clips of a folder, wherever it lies: shards by their contents, videos by names and sizes."""
    if isinstance(source, ShardedClips):
        clips = identify_clips(source)
    else:
        clips = [f"{path.relative_to(source.folder)} {path.stat().st_size}" for path in source.paths]
    return hashlib.sha256("\n".join(clips).encode(errors="surrogateescape")).hexdigest()[:12]
