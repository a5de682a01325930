"""What a training will cost, before anything is spent: the command ``plan``."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from rich.table import Table

from worldgen.data.buckets import Shaped
from worldgen.data.cache.store import entry_size
from worldgen.data.datamodule import ClipDataModule
from worldgen.diffusion.denoisers.tokens import count_tokens
from worldgen.files import write_atomically
from worldgen.hub import sizes_only
from worldgen.runs.planning.batches import Epochs, plan_epochs
from worldgen.runs.planning.machine import available_bytes, say_bytes
from worldgen.runs.planning.measured import ShortRun, run_shortly
from worldgen.runs.planning.memory import Memory, predict_memory
from worldgen.runs.planning.parts import CountedPart, Weights, count_parts, find_weights
from worldgen.runs.planning.played import empty_latents
from worldgen.runs.train import configure
from worldgen.tasks.generator import WorldGenerator

_SHOWN = 20
"""Clips that are listed on a screen."""
_SHARDED = ("FSDPStrategy", "ModelParallelStrategy")
_STATES = 4
"""Numbers in a checkpoint for each that learns: itself, its average, and AdamW's two."""


@dataclass(frozen=True)
class Disk:
    """Bytes."""

    data: int
    cache: int
    """What a fit will keep of encoded clips."""
    checkpoint: int
    checkpoints: int
    """How many of them there are at once, the one that is being written included."""
    free: int


@dataclass(frozen=True)
class Plan:
    """What a training will cost."""

    parts: list[CountedPart]
    weights: list[Weights]
    epochs: Epochs
    memory: Memory
    disk: Disk
    processes: int
    available: int
    """Bytes of memory of the host."""
    measured: ShortRun | None


def make_plan(
    task: type[LightningModule],
    data: type[LightningDataModule],
    command: Sequence[str],
    words: Sequence[str],
    measure: int,
) -> Plan:
    """Everything that can be said of a training without training.

    Args:
        task: What would be trained.
        data: On what.
        command: ``fit`` or ``pretrain PART``.
        words: Lightning's, behind it.
        measure: Steps of the short run that time is measured with; 0 runs none.

    Raises:
        ValueError: A training without a batch, or one that does not fit into memory or on the disk.
    """
    with sizes_only():
        cli = configure(task, data, [word for word in words if not word.startswith("--ckpt_path")])
    module, source, trainer = cli.model, cli.datamodule, cli.trainer
    parts, weights = count_parts(module), find_weights(cli.config.as_dict())
    if not isinstance(source, ClipDataModule):
        source.setup("fit")
    tokens = _count_tokens(module, source)
    epochs = plan_epochs(source, trainer, tokens)
    if epochs.clips and isinstance(module, WorldGenerator) and isinstance(source, ClipDataModule):
        disk_cache = _cache_bytes(module, source)
    else:
        disk_cache = 0
    disk = _disk(module, source, trainer, disk_cache)
    batch, shape = _largest(source, module, tokens)
    memory = predict_memory(module, trainer, batch, shape)
    if type(trainer.strategy).__name__ in _SHARDED:
        memory = _sharded(memory, trainer.world_size)
    available = available_bytes()
    require_room(memory, trainer.num_devices, available, batch)
    if disk.cache + disk.checkpoint * disk.checkpoints > disk.free:
        raise ValueError(
            f"{say_bytes(disk.cache)} of cache and {disk.checkpoints} checkpoints of "
            f"{say_bytes(disk.checkpoint)} must fit on the disk; {say_bytes(disk.free)} are free. Store less "
            "(model.storage, see `worldgen cache plan`), or name another model.cache and "
            "trainer.default_root_dir."
        )
    measured = None
    if measure:
        least = source.batch_size * trainer.world_size if isinstance(source, ClipDataModule) else 0
        clips = min(epochs.clips, max(least, 64)) if least else None
        measured = run_shortly([*command, *words], measure, clips, isinstance(module, WorldGenerator))
    return Plan(parts, weights, epochs, memory, disk, trainer.num_devices, available, measured)


def require_room(memory: Memory, processes: int, available: int, batch: int) -> None:
    """Refuse a training that does not fit.

    Args:
        memory: Of one process.
        processes: On this machine.
        available: Bytes of the host.
        batch: Clips in a step.

    Raises:
        ValueError: It does not fit, and what to lower.
    """
    places = [("host", memory.host * processes, available)]
    if memory.device != "cpu":
        places.append(("device", memory.on_device, torch.cuda.get_device_properties(0).total_memory))
    for place, needed, there in places:
        if needed <= there:
            continue
        growing = (memory.step + memory.holes) * processes
        fixed = needed - growing
        fits = int((there - fixed) * batch / max(1, growing))
        if 1 <= fits < batch:
            advice = (
                f"Lower data.batch_size from {batch} to {fits} (trainer.accumulate_grad_batches keeps the "
                "clips of a step), or compute blocks again (configs/training.yaml)."
            )
        else:
            advice = (
                f"{say_bytes(fixed)} are there before a clip is: lower the denoiser's dim or depth, or share "
                "the weights among devices (configs/strategies/fsdp.yaml)."
            )
        raise ValueError(
            f"A training must fit into memory; it needs {say_bytes(needed)} of the {place}, which has "
            f"{say_bytes(there)}. {advice}"
        )


def print_plan(plan: Plan, dropped: Path | None) -> None:
    """Tables on the screen; all clips that are dropped in a file, where one is named."""
    console = Console(markup=False, emoji=False)
    table = _table("part", "class", "parameters", "trained")
    for part in plan.parts:
        share = f"{part.learning / max(1, part.parameters):.0%}"
        table.add_row(part.name, part.kind, f"{part.parameters:,}", share if part.learning else "")
    everything, learning = (
        sum(getattr(part, name) for part in plan.parts) for name in ("parameters", "learning")
    )
    table.add_row("all", "", f"{everything:,}", f"{learning / max(1, everything):.0%} ({learning:,})")
    console.print(table)
    if plan.weights:
        table = _table("weights", "license", "here")
        for one in plan.weights:
            table.add_row(one.name, one.license or "not said", "yes" if one.here else "no: fetch it first")
        console.print(table)
    _print_epochs(plan.epochs, console)
    _print_memory(plan, console)
    disk = plan.disk
    print(
        f"Disk: data {say_bytes(disk.data)}, cache {say_bytes(disk.cache)}, {disk.checkpoints} checkpoints "
        f"of {say_bytes(disk.checkpoint)}; {say_bytes(disk.free)} are free."
    )
    if plan.measured is None:
        print("Time: not measured (--measure 0).")
    else:
        _print_time(plan, plan.measured)
    if dropped is not None:
        text = StringIO()
        csv.writer(text).writerows([("clip", "why"), *plan.epochs.dropped])
        write_atomically(dropped, text.getvalue().encode())


def _print_epochs(epochs: Epochs, console: Console) -> None:
    if epochs.buckets:
        table = _table("frames x rows x columns", "clips", "batches of an epoch")
        for one in epochs.buckets:
            shape = " x ".join(map(str, one.shape)) if isinstance(one.shape, tuple) else str(one.shape)
            table.add_row(shape, f"{one.clips:,}", f"{one.batches:,}" if one.batches else "packed")
        console.print(table)
    steps = f"{epochs.total:,} steps" if epochs.total else "as many steps as its time has"
    rounds = f", {epochs.total / epochs.steps:.1f} epochs" if epochs.total else ""
    tokens = f", {epochs.tokens:,} tokens" if epochs.tokens else ""
    print(
        f"{epochs.clips:,} clips: an epoch has {epochs.batches:,} batches for each process, {epochs.steps:,} "
        f"steps{tokens}. The run has {steps}{rounds}."
    )
    if not epochs.dropped:
        print("No clip is dropped.")
    for name, why in epochs.dropped[:_SHOWN]:
        print(f"  dropped: {name}: {why}")
    if len(epochs.dropped) > _SHOWN:
        print(f"  and {len(epochs.dropped) - _SHOWN} more; --dropped FILE lists all.")
    for sentence in epochs.shared:
        print(sentence)


def _print_memory(plan: Plan, console: Console) -> None:
    memory, places = plan.memory, plan.memory.device
    table = _table("memory of a process, predicted", "where", "bytes")
    rows = [
        ("Python and libraries", "host", memory.process),
        ("weights", places, memory.weights),
        ("gradients, optimizer", places, memory.learning),
        ("a step", places, memory.step),
        ("kept by the allocator", "host", memory.holes),
    ]
    for name, where, size in rows:
        if not size and name == "kept by the allocator":
            continue
        known = size or name != "a step"
        table.add_row(name, where, say_bytes(size) if known else "not counted for this task")
    table.add_row("at the peak", "host", say_bytes(memory.host))
    if memory.on_device:
        table.add_row("at the peak", "device", say_bytes(memory.on_device))
    console.print(table)
    print(f"{plan.processes} processes here; {say_bytes(plan.available)} of the host are available.")


def _print_time(plan: Plan, measured: ShortRun) -> None:
    seconds = plan.epochs.total * measured.step
    total = f"{_duration(seconds)} for {plan.epochs.total:,} steps" if seconds else "no end is set"
    print(
        f"Time, measured in a run of {measured.steps} steps: {measured.step:.3g} s a step, "
        f"{measured.before:.1f} s before the first; {total}, without validation."
    )
    device = f", {say_bytes(measured.device)} of the device" if measured.device else ""
    print(f"Its peak was {say_bytes(measured.host)} of the host{device}.")


def _count_tokens(module: LightningModule, data: LightningDataModule) -> list[int] | None:
    """Tokens of each training clip; a loader that packs them is told."""
    if not isinstance(module, WorldGenerator) or not isinstance(data, ClipDataModule):
        return None
    source = data.train_source()
    if not isinstance(source, Shaped):
        shapes = [(data.frames or 1, data.size or 1, data.size or 1)] * len(source)
    else:
        shapes = list(source.shapes)
    codec, denoiser = module.model.codec, module.model.denoiser
    known = {
        shape: count_tokens(denoiser, (codec.steps(shape[0]), codec.channels, *codec.grid(*shape[1:])))
        for shape in dict.fromkeys(shapes)
    }
    tokens = [known[shape] for shape in shapes]
    if data.packed_tokens is not None:
        data.train_on_latents(source, tokens)
    return tokens


def _largest(
    data: LightningDataModule, module: LightningModule, tokens: list[int] | None
) -> tuple[int, tuple[int, int, int]]:
    """Clips of a step, and the shape of the largest."""
    if not isinstance(data, ClipDataModule) or tokens is None:
        return getattr(data, "batch_size", 1), (1, 1, 1)
    source = data.train_source()
    shape = (data.frames or 1, data.size or 1, data.size or 1)
    if isinstance(source, Shaped):
        shape = max(source.shapes, key=math.prod)
    batch = data.batch_size
    if data.packed_tokens is not None:
        batch = max(1, data.packed_tokens // max(tokens))
    return batch, shape


def _cache_bytes(module: WorldGenerator, data: ClipDataModule) -> int:
    source = data.train_source()
    if not isinstance(source, Shaped):
        shapes = [(data.frames or 1, data.size or 1, data.size or 1)] * len(source)
    else:
        shapes = list(source.shapes)
    sizes = {}
    for shape in dict.fromkeys(shapes):
        columns = empty_latents(module.model, 1, shape, "cpu").columns()
        sizes[shape] = entry_size(module.storage.keep(columns))
    return sum(sizes[shape] for shape in shapes)


def _disk(module: LightningModule, data: LightningDataModule, trainer: Trainer, cache: int) -> Disk:
    learning = sum(one.numel() * one.element_size() for one in module.parameters() if one.requires_grad)
    writers = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
    kept = sum(2 * bool(one.save_last) + max(0, one.save_top_k) for one in writers) + 1
    folder = getattr(data, "train", None)
    files = Path(folder).rglob("*") if folder and Path(folder).is_dir() else []
    root = Path(trainer.default_root_dir).absolute()
    parent = next(path for path in (root, *root.parents) if path.exists())
    size = sum(file.stat().st_size for file in files if file.is_file())
    return Disk(size, cache, _STATES * learning, kept, shutil.disk_usage(parent).free)


def _sharded(memory: Memory, processes: int) -> Memory:
    parts: Mapping[str, Any] = {"weights": memory.weights, "learning": memory.learning}
    shared = {name: value // processes for name, value in parts.items()}
    return Memory(memory.device, memory.process, shared["weights"], shared["learning"], memory.step)


def _table(*columns: str) -> Table:
    table = Table(box=None)
    for name in columns:
        table.add_column(name)
    return table


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.1f} hours" if hours >= 1 else f"{seconds / 60:,.1f} minutes"
