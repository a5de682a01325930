"""What a fit will keep of its clips: how large, whether it still holds, and what is there."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console
from rich.table import Table

from worldgen.data.batching import stack_clips
from worldgen.data.cache.cache import explain_miss, find_differences, open_cache, read_recipes
from worldgen.data.cache.precision import Columns, Exact, Float16, Int8, Storage, storage_errors
from worldgen.data.cache.store import Store, entry_size
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.remote import is_remote
from worldgen.data.shards.shards import find_shards
from worldgen.data.sources import ClipSource, ShardedClips, count_shared
from worldgen.latents import Latents
from worldgen.tasks.encoding import encoding_recipe, unread_members
from worldgen.tasks.generator import WorldGenerator

CHOICES: tuple[Storage, ...] = (Exact(), Float16(), Int8(), Float16(pool=4), Int8(pool=4))
ERROR_CLIPS = 4
"""Clips that the errors of a way of storing are measured on."""


def plan_cache(arguments: Sequence[str]) -> None:
    """Say how large the cache of a fit will be, in bytes, without writing any of them.

    One clip of each shape is encoded, and multiplied by how many there are.

    Args:
        arguments: Those of ``worldgen fit``.
    """
    task, data, _ = _configure(arguments)
    model, folder = task.model, task.cache
    source = data.train_source(unread_members(model))
    cache, recipe = open_cache(source, folder, encoding_recipe(model), task.storage)
    missing = {key: number for number, key in enumerate(cache.keys) if key not in cache.store}
    counts: dict[tuple[int, ...], int] = {}
    examples: dict[tuple[int, ...], Columns] = {}
    shape_of = _shapes(source)
    for number in missing.values():
        shape = shape_of(number)
        if shape not in examples:
            examples[shape] = model.encode(source[number]).columns()
        counts[shape] = counts.get(shape, 0) + 1
    print(f"{len(cache)} clips in {data.train}, {len(cache) - len(missing)} of them in {cache.store.folder}.")
    _say_shared(data)
    if not missing:
        return
    print(f"To encode: {len(missing)} clips; {explain_miss(folder, recipe)}.")
    some = [number for number in missing.values() if shape_of(number) == next(iter(counts))][:ERROR_CLIPS]
    measured = model.encode(stack_clips([source[number] for number in some])).columns()
    names = Latents.names(model.conditioner.present, model.forecast is not None)
    lossy = [place for place, part in enumerate(measured) if part.is_floating_point() and part.numel()]
    table = Table(title=f"relative rms error on {len(some)} clips")
    for column in ("storage", "bytes", *(names[place] for place in lossy)):
        table.add_column(column, justify="left" if column == "storage" else "right")
    for storage in CHOICES:
        size = sum(entry_size(storage.keep(examples[shape])) * count for shape, count in counts.items())
        errors = storage_errors(measured, storage)
        pool = f", {storage.pool} tokens to one" if storage.pool > 1 else ""
        table.add_row(
            type(storage).__name__ + pool, f"{size:,}", *(f"{errors[place]:.2g}" for place in lossy)
        )
    Console(markup=False, emoji=False).print(table)
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    kept, free = type(cache.storage).__name__, shutil.disk_usage(parent).free
    print(f"A fit keeps them as {kept}; {free:,} bytes are free there.")


def _say_shared(data: ClipDataModule) -> None:
    """Whether clips to validate or test on show scenes that are trained on."""
    named = {name: getattr(data, name) for name in ("train", "val", "test")}
    folders = {name: Path(folder) for name, folder in named.items() if folder and not is_remote(folder)}
    opened = {name: ShardedClips(folder) for name, folder in folders.items() if find_shards(folder)}
    for name in opened.keys() - {"train"}:
        shared = count_shared(opened[name], opened["train"]) if "train" in opened else 0
        if shared:
            print(f"{shared} of {len(opened[name])} clips of data.{name} are trained on: simulate others.")


def verify_cache(arguments: Sequence[str]) -> None:
    """Compare the checksums of a fit's cache, and compute a sample of it again.

    Args:
        arguments: Those of ``worldgen fit``, and ``--sample`` (clips, 16) and ``--tolerance`` (relative rms
            difference, 1e-3).

    Raises:
        ValueError: Nothing is kept yet; entries are damaged or differ, and which.
    """
    task, data, cli = _configure(arguments)
    source = data.train_source(unread_members(task.model))
    cache, recipe = open_cache(source, task.cache, encoding_recipe(task.model), task.storage)
    if not set(cache.keys) & cache.store.entries.keys():
        raise ValueError(
            f"{task.cache} must hold clips of {data.train} to verify; it holds none: "
            f"{explain_miss(task.cache, recipe)}. Run the fit first."
        )
    damage = cache.store.find_damage()
    if damage:
        raise ValueError(f"{len(damage)} of {len(cache.store)} entries are damaged: {' '.join(damage[:3])}")
    count, different = find_differences(
        cache,
        source,
        lambda clip: task.model.encode(clip).columns(),
        cli.config["sample"],
        tolerance=cli.config["tolerance"],
    )
    if different:
        raise ValueError(
            f"{len(different)} of {count} entries of {cache.store.folder} are not what this code computes: "
            f"{', '.join(different[:20])}. Delete that folder; the next fit computes it again."
        )
    print(f"{len(cache.store)} checksums agree; {count} clips computed again agree.")


def print_cache(folder: Path) -> None:
    """Print what a cache holds.

    Args:
        folder: The cache.

    Raises:
        FileNotFoundError: No cache there.
    """
    recipes = read_recipes(folder)
    if not recipes:
        raise FileNotFoundError(f"{folder} must hold a cache; there is none. `worldgen fit` fills one.")
    for name, recipe in recipes.items():
        store = Store(folder / name)
        size = sum(path.stat().st_size for path in store.folder.iterdir() if path.is_file())
        parts = len({entry.part for entry in store.entries.values()})
        print(f"{store.folder}: {len(store)} clips in {parts} parts, {size:,} bytes")
        for part, weights in recipe.weights.items():
            print(f"  weights of {part}: {weights}")
        for setting, value in recipe.settings.items():
            print(f"  {setting}: {value}")


class _CacheCLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--sample", type=int, default=16)
        parser.add_argument("--tolerance", type=float, default=1e-3)


def _configure(arguments: Sequence[str]) -> tuple[WorldGenerator, ClipDataModule, LightningCLI]:
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    cli = _CacheCLI(
        WorldGenerator,
        ClipDataModule,
        args=list(arguments),
        run=False,
        seed_everything_default=0,
        save_config_callback=None,
        parser_kwargs={"exit_on_error": False},
    )
    torch.set_float32_matmul_precision("high")  # as fit does
    return cli.model.eval(), cli.datamodule, cli


def _shapes(source: ClipSource) -> Callable[[int], tuple[int, ...]]:
    entries = getattr(getattr(source, "index", None), "entries", None)
    return lambda number: entries[number].shape if entries is not None else ()
