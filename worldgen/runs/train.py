"""LightningCLI around each task: typed yaml in, a run folder out."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from pickle import UnpicklingError

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from worldgen.runs.checkpoints import PREVIOUS, write_whole
from worldgen.runs.folder import save_weights, training_lock, whole_weights
from worldgen.runs.processes.peers import WatchPeers, is_lost_peer, lost_sentence
from worldgen.runs.processes.slurm import noted_checkpoint
from worldgen.runs.processes.stopping import Stopped, StopSafely, signals_kept
from worldgen.runs.repeating.random_state import KeepRandomState
from worldgen.runs.telling import TellInLog
from worldgen.runs.trained_on import describe_training, save_training
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.parts.sound import SoundTask

_NAMES = (
    ("run_name", "run_id", ""),
    ("name", "version", "project"),
    ("name", "version", "name"),
)
"""Keys of a logger for a run's name, its version, and the folder of both: MLflow's, W&B's, Lightning's."""
_KNOWN_WARNINGS = (
    r"LightningCLI's args parameter",  # the words are checked before they get here
    r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen parts are, on purpose
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own use of torch
)


class RunTrainer(Trainer):
    """A trainer whose ``log_dir`` is the run folder, whatever logs: that above its checkpoints."""

    @property
    def log_dir(self) -> str | None:
        """Folder of config, weights and checkpoints.

        Processes agree on it when it is first asked for, at the latest in `KeepRun.setup`; after that any of
        them may ask alone.
        """
        if self._run_folder is None:
            self._run_folder = self._agree_on_folder()
        return self._run_folder

    _run_folder: str | None = None

    def _agree_on_folder(self) -> str | None:
        logger = self.loggers[0] if self.loggers else None
        if logger is None or isinstance(logger, (TensorBoardLogger, CSVLogger)):
            return super().log_dir
        _ = getattr(logger, "experiment", None)  # W&B names its version when it begins
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        folder = Path(logger.save_dir or self.default_root_dir) / str(logger.name) / version
        return self.strategy.broadcast(str(folder))


class KeepRun(Callback):
    """Writes checkpoints whole, and the averaged weights beside the run's config when training ends.

    TensorBoard's events are in every run folder, beside what else logs.

    While it trains it holds a lock on that config: `worldgen runs` tells by it what lives from what stopped.
    """

    def __init__(self) -> None:
        self._lock = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        write_whole(trainer)
        if (
            type(trainer.strategy) is DDPStrategy
        ):  # a part that is off, or of another optimizer, has no gradient
            trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
        folder = trainer.log_dir
        if (
            trainer.loggers
            and folder
            and not any(isinstance(one, TensorBoardLogger) for one in trainer.loggers)
        ):
            trainer.loggers = [*trainer.loggers, TensorBoardLogger(folder, name="", version="")]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = trainer.log_dir
        if trainer.is_global_zero and folder:
            self._lock.enter_context(training_lock(Path(folder)))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = trainer.log_dir
        if folder and isinstance(pl_module, WorldGenerator):
            with pl_module.average.applied():
                state = whole_weights(pl_module.model)
                data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
                if trainer.is_global_zero:
                    save_weights(pl_module.model, Path(folder), state)
                    save_training(describe_training(pl_module.model, data.train_source()), Path(folder))
        elif folder and isinstance(pl_module, SoundTask) and trainer.is_global_zero:
            with pl_module.average.applied():
                save_weights(pl_module.model, Path(folder))
        for logger in trainer.loggers:
            logger.log_metrics({"steps": trainer.global_step}, step=trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._lock.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._lock.close()


def run_lightning(
    task: type[LightningModule],
    data: type[LightningDataModule],
    arguments: Sequence[str],
    then: str = "",
    callbacks: Sequence[Callback] = (),
) -> LightningCLI:
    """Fit, validate or test a task, as its yaml says.

    Args:
        task: What is trained.
        data: On what.
        arguments: ``fit``, ``validate`` or ``test``, and Lightning's words.
        then: What to do with the run folder ``{run}`` next, said at the end of a fit.
        callbacks: Beside those of the yaml and our own.

    Raises:
        SystemExit: A signal stopped the fit; 130 or 143, after the way to go on was said.
        ValueError: The checkpoint to go on from cannot be read.
    """
    torch.set_float32_matmul_precision("high")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow 3 refuses its store of files
    for message in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    try:
        with signals_kept():
            cli = _CLI(task, data, arguments, callbacks)
    except Stopped as stopped:
        _say_how_to_go_on(stopped)
        raise SystemExit(128 + stopped.number) from None
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        if is_lost_peer(error):
            raise ChildProcessError(lost_sentence("another one", "")) from error
        # Of a file whose end is missing torch says "Invalid argument", a number of the system.
        if not _while_loading(error) or isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ValueError(
            "--ckpt_path must be a whole checkpoint of this model; the file is none. Go on from the one "
            f"before it, which is kept beside last.ckpt as {PREVIOUS}."
        ) from error
    finally:
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish()  # the next fit of this process is a run of its own
    if arguments[0] == "fit" and cli.trainer.is_global_zero:
        _say_what_came_of_it(cli, then)
    return cli


def configure(
    task: type[LightningModule], data: type[LightningDataModule], arguments: Sequence[str]
) -> LightningCLI:
    """Build the task, the data and the trainer as their yaml says, and train nothing.

    Args:
        task: What would be trained.
        data: On what.
        arguments: Lightning's words, without ``fit``.
    """
    warnings.filterwarnings("ignore", message=_KNOWN_WARNINGS[0])
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    return LightningCLI(
        task, data, args=list(arguments), run=False, seed_everything_default=0, save_config_callback=None,
        trainer_defaults={"enable_model_summary": False},
        parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
    )  # fmt: skip


class _CLI(LightningCLI):
    """Names run folders: by an ablation's name, and a resumed run goes on in its own."""

    def __init__(
        self,
        task: type[LightningModule],
        data: type[LightningDataModule],
        words: Sequence[str],
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self._words = [str(word) for word in words]
        strict = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            task,
            data,
            args=list(words),
            trainer_class=RunTrainer,
            seed_everything_default=0,
            trainer_defaults={
                "callbacks": [*_own_callbacks(self._words), *callbacks],
                "enable_model_summary": False,
            },
            save_config_kwargs={"overwrite": True},
            parser_kwargs={**strict, self._words[0]: strict},
        )

    def subcommands(self) -> dict[str, set[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The one that is asked for: Lightning builds a parser for each, a third of a start."""
        return {self._words[0]: LightningCLI.subcommands()[self._words[0]]}

    def before_instantiate_classes(self) -> None:
        if self.subcommand == "fit" and self.config.fit.get("ckpt_path") is None:
            stopped_at = noted_checkpoint(Path(self.config.fit.trainer.default_root_dir or "."), self._words)
            if stopped_at is not None:
                self.config.fit.ckpt_path = str(stopped_at)
        logger = self.config.fit.trainer.logger if self.subcommand == "fit" else None
        given = getattr(logger, "init_args", None)
        if logger is None or given is None:
            return
        keys = next((keys for keys in _NAMES if all(key in given for key in keys if key)), None)
        if keys is None:
            return
        name, version, group = keys
        if not any(f".logger.init_args.{name}" in word for word in self._words):
            given[name] = _ablations(self._words) or given[name]
        checkpoint = self.config.fit.get("ckpt_path")
        # A CSVLogger would delete what was logged there before.
        if checkpoint and given[version] is None and not logger.class_path.endswith("CSVLogger"):
            run = Path(checkpoint).resolve().parent.parent
            above = run.parent if group else run.parent.parent
            if above == (Path(given.save_dir) / (given[group] or "" if group else "")).resolve():
                given[version] = run.name


def _own_callbacks(words: Sequence[str]) -> list[Callback]:
    return [KeepRun(), WatchPeers(), StopSafely(words), TellInLog(), KeepRandomState()]


def _ablations(words: Sequence[str]) -> str:
    """The names of the ablations among the yaml files of a command line, joined by +."""
    files = [
        Path(re.sub(r"^(-c|--config)=?", "", word)) for word in words if word.endswith((".yaml", ".yml"))
    ]
    return "+".join(file.stem for file in files if file.parent.name == "ablations")


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return "litlogger" not in text and "litmodels" not in text


def _while_loading(error: BaseException) -> bool:
    """Whether Lightning was reading a checkpoint when the error came."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.name == "_parse_ckpt_path" or "checkpoint" in frame.name for frame in frames)


@rank_zero_only
def _say_how_to_go_on(stopped: Stopped) -> None:
    if stopped.checkpoint is None:
        print(f"Stopped at step {stopped.step}. Nothing was written; go on from the last checkpoint, if any.")
    else:
        print(f"Stopped at step {stopped.step}. To go on, give the same command and")
        print(f"  --ckpt_path {stopped.checkpoint}")


def _say_what_came_of_it(cli: LightningCLI, then: str) -> None:
    trainer, run = cli.trainer, cli.trainer.log_dir
    if run is None:
        return
    print(f"\n{trainer.global_step} steps are done. Run folder: {run}")
    numbers = {
        name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")
    }
    for name, value in sorted(numbers.items()):
        print(f"  {name:<36} {value:.4g}")
    if then:
        print(f"Next: {then.format(run=run)}")
