"""One cell, trained and evaluated; one arm, tried before: what a study's processes do."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import save_file
from torch import Tensor

from worldgen.data.datamodule import ClipDataModule
from worldgen.data.packing import Packed
from worldgen.data.sources import ShardedClips
from worldgen.evaluation.compare import measure_names
from worldgen.evaluation.generator import OF_A_CELL, evaluate_folder
from worldgen.files import atomic_path, write_atomically
from worldgen.runs.folder import WEIGHTS_FILE
from worldgen.runs.train import configure, run_lightning
from worldgen.study.ablation.cells import REPORT, Cell, Study
from worldgen.study.ablation.experiment import BASE
from worldgen.tasks.encoding import unread_members
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.packing import draw_pieces
from worldgen.tasks.schedule import draw_step, step_generator

LOG_FILE, STEP_FILE = "log.txt", "step"
_TRIED_STEPS, _TRIED_CLIPS = 3, 2


@dataclass(frozen=True)
class Trial:
    """What a few steps of an arm and a few generated clips showed."""

    batches: str
    """Hash of which clips are trained on, in which order."""
    noise: str
    """Hash of noise and noise levels of the first steps."""
    start: tuple[tuple[str, str], ...]
    """Name and hash of each weight that the arm begins with."""
    trained: str
    """Hash of the weights after these steps."""
    sampled: str
    """Hash of what is generated with them."""
    measures: tuple[str, ...]
    """Names of all that its evaluation measures."""
    parameters: int
    """Trained ones."""
    step_seconds: float
    encode_seconds: float
    """Of one clip."""
    judge_seconds: float
    """Of one clip, generated and judged."""

    def connected(self, base: Trial) -> bool:
        """Whether training or what it makes differs from the base."""
        return (self.batches, self.trained, self.sampled) != (base.batches, base.trained, base.sampled)


def run_cell(study: Study, number: int) -> str:
    """Train and evaluate one cell; what was done before is kept, a killed training goes on.

    Whatever one cell does, the others are run: its error is its sentence.

    Returns:
        "" or why it failed.
    """
    cell = study.cells()[number]
    cell.folder.mkdir(parents=True, exist_ok=True)
    cell.write("begun")
    with open(cell.folder / LOG_FILE, "a", encoding="utf-8") as log, _alone(log):
        try:
            begun = time.monotonic()
            if not (cell.folder / WEIGHTS_FILE).is_file():
                _fit(study, cell)
            fitted = time.monotonic()
            _evaluate(study, cell)
        except Exception as error:
            traceback.print_exc()
            sentence = _sentence(error)
            cell.write("failed", sentence=sentence)
            return sentence
    seconds = {"fit_seconds": fitted - begun, "evaluate_seconds": time.monotonic() - fitted}
    cell.write("finished", result=cell.result(), **seconds)
    (cell.folder / STEP_FILE).unlink(missing_ok=True)
    return ""


def try_arm(study: Study, number: int) -> Trial:
    """Take a few steps of an arm and generate a few clips, on few clips of the first seed.

    Raises:
        ValueError: The arm cannot be built, trained, sampled from or judged; its name stands in the sentence.
    """
    cell = study.cells()[number]
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / LOG_FILE, "w") as log:
        try:
            with _alone(log):
                return _try(study, cell, Path(folder))
        except Exception as error:
            if not isinstance(error, (ValueError, OSError, RuntimeError)) and "Error" in type(error).__name__:
                raise
            raise ValueError(f"Arm {cell.arm.name} does not run: {_sentence(error)}") from error


def _fit(study: Study, cell: Cell) -> None:
    words = [*study.words(cell), f"--model.start={_start_of(study, cell)}"]
    last = cell.folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        words.append(f"--ckpt_path={last}")
    for name in ("config.yaml", "hparams.yaml"):  # Lightning refuses to write over another run's
        (cell.folder / name).unlink(missing_ok=True)
    run_lightning(
        WorldGenerator, ClipDataModule, ["fit", *words], callbacks=[_TellSteps(cell.folder / STEP_FILE)]
    )


def _evaluate(study: Study, cell: Cell) -> None:
    told = study.experiment.evaluation
    out = cell.folder / REPORT
    called = sys.argv
    # What a report says of its own command, whoever ran it.
    sys.argv = ["worldgen", "evaluate", "run", str(cell.folder), "--data", told.data, "--out", str(out)]
    try:
        evaluate_folder(
            cell.folder, Path(told.data), out, told.context_frames, cell.seed, told.clips, extent=OF_A_CELL
        )
    finally:
        sys.argv = called


def _start_of(study: Study, cell: Cell) -> Path:
    """Weights that the base draws with this seed: what an arm shares with it begins alike."""
    path = study.out / "starts" / f"seed-{cell.seed}.safetensors"
    if not path.is_file():
        base = next(one for one in study.cells() if one.arm.name == BASE and one.seed == cell.seed)
        task = configure(WorldGenerator, ClipDataModule, study.words(base)).model
        with atomic_path(path) as partial:
            save_file(
                {name: value.contiguous() for name, value in task.model.trained_state().items()}, partial
            )
    return path


def _try(study: Study, cell: Cell, folder: Path) -> Trial:
    words = [*study.words(cell), f"--model.start={_start_of(study, cell)}"]
    whole = configure(WorldGenerator, ClipDataModule, words)
    batches, batch_size = _first_batches(whole.datamodule)
    start = tuple((name, _hash([value])) for name, value in whole.model.model.trained_state().items())
    encode = _time_encoding(whole.model, whole.datamodule)
    few = [
        *words,
        f"--data.clips={min(2 * batch_size, len(whole.datamodule.train_source()))}",
        "--data.val=null",
        f"--trainer.logger.init_args.save_dir={folder}",
        f"--model.cache={folder / 'cache'}",
        "--trainer.val_check_interval=null",
    ]
    watch = _StopEarly()
    task = run_lightning(WorldGenerator, ClipDataModule, ["fit", *few], callbacks=[watch]).model
    run = folder / cell.arm.name / cell.folder.name
    begun = time.monotonic()
    told = study.experiment.evaluation
    extent = replace(OF_A_CELL, replayed_truths=1)
    evaluate_folder(
        run, Path(told.data), folder / REPORT, told.context_frames, cell.seed, _TRIED_CLIPS, extent=extent
    )
    judged = (time.monotonic() - begun) / _TRIED_CLIPS
    with torch.no_grad():
        clip = ShardedClips(Path(told.data))[0]
        made = task.model.generate(clip, clip.frames.shape[1], 0, task.model.encode_condition(clip))
    return Trial(
        batches,
        _hash_of(watch.noise),
        start,
        _hash(task.model.trained_state().values()),
        _hash([made.frames]),
        measure_names(folder / REPORT),
        sum(one.numel() for one in task.model.parameters() if one.requires_grad),
        min(watch.seconds, default=0.0),
        encode,
        judged,
    )


def _first_batches(data: ClipDataModule) -> tuple[str, int]:
    """What tells the batches of a run from those of another, and how many clips fill one."""
    if data.packed_tokens is not None:  # who lies with whom is known once the clips are encoded
        alone = copy(data)
        alone.packed_tokens, alone.batch_size, alone.partial = None, 1, True
        loader = alone.train_dataloader()
        rule = f"{data.packed_tokens} tokens, seed {data.seed}"
        return _hash_of([loader.mark.encode(), rule.encode()]), 8
    loader = data.train_dataloader()
    return _hash_of([loader.mark.encode(), repr(loader.order_of(0)).encode()]), loader.batch_size


def _time_encoding(task: WorldGenerator, data: ClipDataModule) -> float:
    """Seconds that the frozen parts take for a clip."""
    source = data.train_source(unread_members(task.model))
    task.model.encode(source[0])  # what comes first is loaded and compiled
    begun = time.monotonic()
    task.model.encode(source[0])
    return time.monotonic() - begun


class _StopEarly(Callback):
    """Ends a fit after a few steps; hashes what they drew and times them."""

    def __init__(self) -> None:
        self.noise: list[bytes] = []
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, WorldGenerator)
        generator = step_generator(pl_module, pl_module.seed, batch_idx)
        if isinstance(batch, Packed):
            pieces = draw_pieces(pl_module.model, batch, generator)
            drawn = [one for piece in pieces for one in piece.draws[:3]]
        else:
            drawn = draw_step(pl_module.model, pl_module.latents_of(batch)[0], generator)[:3]
        self.noise.append(_hash(list(drawn)).encode())
        self._begun = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds.append(time.monotonic() - self._begun)
        if len(self.seconds) >= _TRIED_STEPS:
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.min_steps = None


class _TellSteps(Callback):
    """Says in a file, once a second, how many steps are done: whoever waits for the cell reads it."""

    def __init__(self, path: Path) -> None:
        self._path, self._told = path, -math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self._told > 1:
            self._told = time.monotonic()
            write_atomically(self._path, str(trainer.global_step).encode())


@contextlib.contextmanager
def _alone(log: Any) -> Iterator[None]:
    """One thread, so that every engine computes the same bits; words go to the log."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    finally:
        torch.set_num_threads(threads)
        gc.collect()  # a trainer and its model hold each other


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _hash(tensors: Iterable[Tensor]) -> str:
    return _hash_of([tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in tensors])


def _hash_of(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
