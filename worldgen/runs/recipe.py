"""The nano model from nothing: ordered stages, each of which is kept when it is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule
from rich.console import Console

from worldgen.files import atomic_folder

HOME = Path(__file__).resolve().parents[2]
SCALE = {"train": 2048, "val": 48}
"""Clips of the quarter-hour recipe; the shipped weights saw more (experiments/first-chain)."""
CODEC_STEPS, T5_STEPS, GENERATOR_STEPS = 700, 400, 1300


def shipped_weights() -> Path:
    """Folder of the nano weights that come with the project.

    Raises:
        FileNotFoundError: The package was installed without them.
    """
    folder = HOME / "assets" / "nano"
    if not (folder / "generator" / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"The nano weights must lie in {folder}, and do not. Install from a clone of the project."
        )
    return folder


def train_from_scratch(out: Path) -> Path:
    """Simulate, train the codec, the text encoder and the generator; returns the generator's run folder."""
    out = out.resolve()
    weights = out / "weights"
    stages: list[tuple[str, Path, Callable[[Path], None]]] = [
        ("2/4 train the codec", weights / "codec", lambda done: _train_codec(out, done)),
        ("3/4 train the text encoder", weights / "t5", lambda done: _train_t5(out, done)),
        ("4/4 train the generator", weights / "generator", lambda done: _train_generator(out, done)),
    ]
    console = Console(markup=False, emoji=False)
    console.rule("1/4 simulate")
    _simulate(out / "data")
    for name, done, make in stages:
        if done.exists():
            console.print(f"{name}: done before, kept")
            continue
        console.rule(name)
        make(done)
    return weights / "generator"


def _simulate(data: Path) -> None:
    from worldgen.data.shards.simulate import simulate_shards

    for seed, (name, count) in enumerate(SCALE.items()):
        simulate_shards(data / name, ("drop", "bounce", "collide"), count, seed=seed + 10)


def _train_codec(out: Path, done: Path) -> None:
    from worldgen.data.datamodule import ClipDataModule
    from worldgen.tasks.codec import CodecTask

    run = _train(CodecTask, ClipDataModule, out, "codec", ("tasks/codec.yaml",), CODEC_STEPS, {})
    _keep(run / "codec", done)


def _train_t5(out: Path, done: Path) -> None:
    from worldgen.data.captions import CaptionDataModule
    from worldgen.tasks.t5 import T5Task

    run = _train(T5Task, CaptionDataModule, out, "t5", ("tasks/t5.yaml",), T5_STEPS, {})
    _keep(run / "t5", done)


def _train_generator(out: Path, done: Path) -> None:
    from worldgen.data.datamodule import ClipDataModule
    from worldgen.tasks.generator import WorldGenerator

    settings: dict[str, object] = {
        "model.codec.init_args.checkpoint": out / "weights" / "codec",
        "model.conditioner.text.init_args.checkpoint": out / "weights" / "t5",
        "model.cache": out / "cache",
    }
    stopped = out / "runs" / "generator" / "checkpoints" / "last.ckpt"
    if stopped.exists():
        settings["ckpt_path"] = stopped
    configs = ("base.yaml", "size/nano.yaml")
    run = _train(WorldGenerator, ClipDataModule, out, "generator", configs, GENERATOR_STEPS, settings)
    _keep(run, done)


def _train(
    task: type[LightningModule],
    data: type[LightningDataModule],
    out: Path,
    name: str,
    configs: tuple[str, ...],
    steps: int,
    settings: dict[str, object],
) -> Path:
    """Fit a task as its yaml says, on this recipe's clips, for so many steps; returns the run folder."""
    from worldgen.runs.train import run_lightning

    everything = {
        "data.train": out / "data" / "train",
        "data.val": out / "data" / "val",
        "trainer.max_steps": steps,
        "trainer.val_check_interval": steps // 2,
        "trainer.logger.init_args.save_dir": out / "runs",
        "trainer.logger.init_args.name": name,
        "trainer.logger.init_args.version": "",
        **settings,
    }
    words = [f"--config={HOME / 'configs' / config}" for config in configs]
    run_lightning(task, data, ["fit", *words, *(f"--{key}={value}" for key, value in everything.items())])
    return out / "runs" / name


def _keep(made: Path, done: Path) -> None:
    """Copy what a stage made; its folder appears when it is whole."""
    ignored = shutil.ignore_patterns("checkpoints", "events*")
    with atomic_folder(done) as partial:
        shutil.copytree(made, partial, ignore=ignored, dirs_exist_ok=True)
