"""What an epoch is: batches, steps, tokens, which shapes, and which clips are not trained on and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import LightningDataModule, Trainer

from worldgen.data.buckets import Shaped
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.loader import ResumableLoader
from worldgen.data.shards.shards import find_shards
from worldgen.data.sources import ShardedClips, VideoFolder, count_shared
from worldgen.data.transforms import NoisyClips


@dataclass(frozen=True)
class Bucket:
    """The clips of one shape."""

    shape: Hashable
    clips: int
    batches: int
    """Of an epoch, of all processes; 0 where shapes share batches."""


@dataclass(frozen=True)
class Epochs:
    """What training goes over."""

    clips: int
    batches: int
    """Of an epoch, of each process."""
    steps: int
    """Of the optimizer, in an epoch."""
    total: int
    """Steps of the whole run; 0 where only its time is bounded."""
    tokens: int
    """Of the denoiser, in an epoch, of all processes; 0 where that is not known."""
    buckets: tuple[Bucket, ...]
    dropped: tuple[tuple[str, str], ...]
    """Name of each clip that is not trained on in the first epoch, and why."""
    shared: tuple[str, ...]
    """Sentences about scenes that are both trained and measured on."""


def plan_epochs(data: LightningDataModule, trainer: Trainer, tokens: Sequence[int] | None = None) -> Epochs:
    """What the training clips come to.

    Args:
        data: Of the training.
        trainer: Says how many processes there are, what is gathered, and how long.
        tokens: Of each clip, where it is known.

    Raises:
        ValueError: There would be no batch, and what to lower.
    """
    loader = data.train_dataloader()
    processes, gathered = trainer.world_size, trainer.accumulate_grad_batches
    if not isinstance(loader, ResumableLoader):
        loader_of = loader[0] if isinstance(loader, list | tuple) else loader
        of_all = len(loader_of)
        names, given = [], set(range(of_all))
    else:
        order = loader.order_of(0)
        of_all = len(order) - len(order) % processes
        names, given = _names(data, loader), {number for batch in order[:of_all] for number in batch}
    batches = of_all // processes
    limit = trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if batches == 0:
        raise ValueError(
            f"Training needs at least one batch for each of {processes} processes; the clips make {of_all} "
            f"for all of them, and trainer.limit_train_batches is {limit}. Lower data.batch_size or "
            "trainer.devices, or add clips."
        )
    steps = math.ceil(batches / gathered)
    return Epochs(
        clips=len(names) or len(given),
        batches=batches,
        steps=steps,
        total=_total(trainer, steps),
        tokens=sum(tokens[number] for number in given) if tokens else 0,
        buckets=_buckets(data, loader),
        dropped=tuple(_dropped(data, loader, names, given, processes)),
        shared=tuple(_shared(data)),
    )


def _total(trainer: Trainer, steps: int) -> int:
    """Lightning's: the first bound that is reached."""
    bounds = [trainer.max_steps] if trainer.max_steps and trainer.max_steps > 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        bounds.append(trainer.max_epochs * steps)
    return min(bounds, default=0)


def _names(data: LightningDataModule, loader: ResumableLoader) -> list[str]:
    count = len(loader.dataset)  # type: ignore[arg-type]
    if not isinstance(data, ClipDataModule):
        return [str(number) for number in range(count)]
    source = data.train_source()
    return [source.name(number) for number in range(count)]


def _buckets(data: LightningDataModule, loader: object) -> tuple[Bucket, ...]:
    if not isinstance(data, ClipDataModule) or not isinstance(loader, ResumableLoader):
        return ()
    source = data.train_source()
    if not isinstance(source, Shaped):
        return ()
    shapes = list(source.shapes)
    packed = data.packed_tokens is not None
    batches = Counter(shapes[batch[0]] for batch in loader.order_of(0) if batch)
    return tuple(
        Bucket(shape, count, 0 if packed else batches[shape])
        for shape, count in sorted(Counter(shapes).items(), key=lambda one: -one[1])
    )


def _dropped(
    data: LightningDataModule, loader: object, names: list[str], given: set[int], processes: int
) -> list[tuple[str, str]]:
    """Those that a folder holds and that the first epoch does not give."""
    found = []
    if isinstance(data, ClipDataModule):
        found += _half_shards(data)
        if data.clips is not None and data.train is not None:
            source = _whole(data)
            found += [
                (source.name(number), f"behind the first {data.clips} clips (data.clips)")
                for number in range(data.clips, len(source))
            ]
    if not isinstance(loader, ResumableLoader):
        return found
    order = loader.order_of(0)
    whole = len(order) - len(order) % processes
    ends = {number for batch in order[whole:] for number in batch}
    packed = isinstance(data, ClipDataModule) and data.packed_tokens is not None
    for number, name in enumerate(names):
        if number in given:
            continue
        if number in ends:
            why = f"its batch does not go round {processes} processes; other clips in every epoch"
        elif packed:
            why = "it would need one more row of packed tokens; other clips in every epoch"
        else:
            why = "no full batch of its shape is left for it; other clips in every epoch (data.partial: true)"
        found.append((name, why))
    return found


def _whole(data: ClipDataModule) -> ShardedClips | VideoFolder:
    everything = ClipDataModule(
        data.train, size=data.size, frames=data.frames, caption_member=data.caption_member
    )
    source = everything.train_source()
    assert not isinstance(source, NoisyClips)
    return source


def _half_shards(data: ClipDataModule) -> list[tuple[str, str]]:
    """Shards of which one of two files is missing."""
    folder = Path(data.train) if data.train is not None else None
    if folder is None or not folder.is_dir():
        return []
    tars = {tar.with_suffix("") for tar in find_shards(folder)}
    indices = {Path(str(one).removesuffix(".index.jsonl")) for one in folder.rglob("*.index.jsonl")}
    return [
        (f"all clips of {one.relative_to(folder)}", f"it has no {'index' if one in tars else 'tar'}")
        for one in sorted(tars ^ indices)
    ]


def _shared(data: LightningDataModule) -> list[str]:
    if not isinstance(data, ClipDataModule):
        return []
    folders = {name: getattr(data, name) for name in ("train", "val", "test")}
    opened = {
        name: ShardedClips(folder)
        for name, folder in folders.items()
        if folder and Path(folder).is_dir() and find_shards(Path(folder))
    }
    said = []
    for name in [one for one in ("val", "test") if one in opened and "train" in opened]:
        count = count_shared(opened[name], opened["train"])
        told = f"{count} of {len(opened[name])} clips of data.{name} show scenes that are trained on"
        said.append(f"{told}: simulate others." if count else f"No scene of data.{name} is trained on.")
    return said
