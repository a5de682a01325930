"""The nano model from nothing: ordered stages, each of which is kept when it is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

HOME = Path(__file__).resolve().parents[2]
SCALE = {"train": 2048, "val": 48}
"""Clips of the quarter-hour recipe; the shipped weights saw more (experiments/first-chain)."""


def shipped_weights() -> Path:
    """Folder of the nano weights that come with the project.

    Raises:
        FileNotFoundError: The package was installed without them.
    """
    for folder in (HOME / "assets" / "nano", HOME / "worldgen" / "assets" / "nano"):
        if (folder / "generator" / "model.safetensors").is_file():
            return folder
    raise FileNotFoundError(
        "The nano weights must lie in assets/nano, and do not. Install from a clone of the project."
    )


def train_from_scratch(out: Path) -> Path:
    """Simulate, train the codec, the text encoder and the generator; returns the generator's run folder."""
    out = out.resolve()
    weights = out / "weights"
    stages: list[tuple[str, Path, Callable[[Path], None]]] = [
        ("1/4 simulate", out / "data" / "val" / "config.json", lambda _: _simulate(out / "data")),
        ("2/4 train the codec", weights / "codec", lambda done: _train_codec(out, done)),
        ("3/4 train the text encoder", weights / "t5", lambda done: _train_t5(out, done)),
        ("4/4 train the generator", weights / "generator", lambda done: _train_generator(out, done)),
    ]
    console = Console()
    for name, done, make in stages:
        if done.exists() and "simulate" not in name:
            console.print(f"{name}: done before, kept")
            continue
        console.rule(name)
        make(done)
    return weights / "generator"


def _simulate(data: Path) -> None:
    from worldgen.data.simulate import simulate_shards

    for seed, (name, count) in enumerate(SCALE.items()):
        simulate_shards(data / name, ("drop", "bounce", "collide"), count, seed=seed + 10)


def _train_codec(out: Path, done: Path) -> None:
    from worldgen.data.datamodule import ClipDataModule
    from worldgen.study.training import run_lightning
    from worldgen.tasks.codec import CodecTask

    config = ["-c", str(HOME / "configs/tasks/codec.yaml"), "--trainer.max_steps", "700"]
    run_lightning(
        CodecTask,
        ClipDataModule,
        ["fit", *config, *_places(out, "codec"), "--trainer.val_check_interval", "350"],
    )
    _keep(out / "runs" / "codec" / "codec", done)


def _train_t5(out: Path, done: Path) -> None:
    from worldgen.data.captions import CaptionDataModule
    from worldgen.study.training import run_lightning
    from worldgen.tasks.t5 import T5Task

    config = ["-c", str(HOME / "configs/tasks/t5.yaml"), "--trainer.max_steps", "400"]
    run_lightning(
        T5Task,
        CaptionDataModule,
        ["fit", *config, *_places(out, "t5"), "--trainer.val_check_interval", "200"],
    )
    _keep(out / "runs" / "t5" / "t5", done)


def _train_generator(out: Path, done: Path) -> None:
    from worldgen.data.datamodule import ClipDataModule
    from worldgen.study.training import run_lightning
    from worldgen.tasks.generator import WorldGenerator

    config = ["-c", str(HOME / "configs/base.yaml"), "-c", str(HOME / "configs/size/nano.yaml")]
    parts = [
        *("--model.codec.init_args.checkpoint", str(out / "weights/codec")),
        *("--model.conditioner.text.init_args.checkpoint", str(out / "weights/t5")),
        *(
            "--model.cache",
            str(out / "cache"),
            "--trainer.max_steps",
            "1300",
            "--trainer.val_check_interval",
            "650",
        ),
    ]
    run = out / "runs" / "generator"
    stopped = run / "checkpoints" / "last.ckpt"
    resume = ["--ckpt_path", str(stopped)] if stopped.exists() else []
    run_lightning(
        WorldGenerator, ClipDataModule, ["fit", *config, *_places(out, "generator"), *parts, *resume]
    )
    done.with_suffix(".partial").mkdir(parents=True, exist_ok=True)
    for name in ("config.yaml", "model.safetensors"):
        shutil.copy(run / name, done.with_suffix(".partial") / name)
    done.with_suffix(".partial").rename(done)


def _places(out: Path, task: str) -> list[str]:
    """Where a stage reads its clips and writes its run."""
    return [
        *("--data.train", str(out / "data/train"), "--data.val", str(out / "data/val")),
        *("--trainer.logger.init_args.save_dir", str(out / "runs")),
        *("--trainer.logger.init_args.name", task, "--trainer.logger.init_args.version", ""),
    ]


def _keep(made: Path, done: Path) -> None:
    done.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(made, done.with_suffix(".partial"), dirs_exist_ok=True)
    done.with_suffix(".partial").rename(done)
