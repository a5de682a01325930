"""Run folders, stopping and going on, with a task that takes no time."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import Logger

from tests.runs.line import Line, Points, fit
from worldgen.runs.listing import list_runs
from worldgen.runs.train import RunTrainer, run_lightning

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_of_another_folder_is_not_written_into(tmp_path):
    first = fit(tmp_path / "a", steps=25)
    (checkpoint,) = Path(first.trainer.log_dir).rglob("last.ckpt")
    other = fit(tmp_path / "b", "--ckpt_path", str(checkpoint))
    assert Path(other.trainer.log_dir) == tmp_path / "b" / "line" / "version_0"


def test_a_run_is_named_by_its_ablations(tmp_path):
    folder = tmp_path / "configs" / "ablations"
    folder.mkdir(parents=True)
    for name in ("no_text", "velocity"):
        (folder / f"{name}.yaml").write_text("model: {frozen: false}\n")
    words = [f"-c={folder}/no_text.yaml", "--config", f"{folder}/velocity.yaml"]
    assert Path(fit(tmp_path, *words, steps=1).trainer.log_dir).parent.name == "no_text+velocity"
    named = fit(tmp_path, *words, "--trainer.logger.init_args.name=mine", steps=1)
    assert Path(named.trainer.log_dir).parent.name == "mine"


def test_it_ends_with_folder_numbers_and_what_to_do_next_and_advertises_nothing(tmp_path, capsys, caplog):
    with warnings.catch_warnings(record=True) as warned:
        cli = fit(tmp_path, "--model.frozen=true", steps=4)
    folder, loss, then = capsys.readouterr().out.strip().splitlines()[-3:]
    assert folder == f"4 steps are done. Run folder: {cli.trainer.log_dir}"
    assert loss.split()[0] == "val/loss" and float(loss.split()[1]) > 0
    assert then == f"Next: worldgen evaluate run {cli.trainer.log_dir}"
    said = caplog.text + "".join(str(one.message) for one in warned)
    assert "max_steps=4" in said, "what Lightning says is looked at"
    assert not any(word in said for word in ("litlogger", "litmodels", "FLOPs", "eval mode", "treespec"))


def test_only_the_parser_of_its_own_words_is_built(tmp_path, monkeypatch):
    built, build = [], LightningCLI._prepare_subcommand_parser

    def counted(self, klass, subcommand, **given):
        built.append(subcommand)
        return build(self, klass, subcommand, **given)

    monkeypatch.setattr(LightningCLI, "_prepare_subcommand_parser", counted)
    base = Path(fit(tmp_path, steps=1).trainer.log_dir) / "config.yaml"
    tested = run_lightning(Line, Points, ["validate", f"--config={base}"])
    assert built == ["fit", "validate"] and "val/loss" in tested.trainer.callback_metrics


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_another_logger_makes_the_same_run_folder_and_goes_on_in_it(name, tmp_path, monkeypatch):
    """Without network: W&B writes to a folder, MLflow to its store of files."""
    pytest.importorskip(name, reason=f"{name} is of the extra {name}")
    monkeypatch.chdir(tmp_path)
    words = [f"--config={ROOT}/configs/loggers/{name}.yaml"]
    run = Path(fit(tmp_path / "base", *words, steps=22).trainer.log_dir)
    assert run.is_relative_to("outputs")
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "checkpoints"}
    (row,) = list_runs(run)
    assert (row.state, row.step, row.measures.keys()) == ("stopped", 22, {"val/loss"})
    last = run / "checkpoints" / "last.ckpt"
    again = fit(tmp_path / "base", *words, "--ckpt_path", str(last), steps=30)
    assert Path(again.trainer.log_dir) == run and list_runs(run)[0].step == 30
    own = {"wandb": "outputs/wandb/offline-run-*/*.wandb", "mlflow": "outputs/mlruns/*/*/metrics/val/loss"}
    assert len(list(tmp_path.glob(own[name]))) == {"wandb": 2, "mlflow": 1}[name], "each fit has logged there"


def test_the_run_folder_of_any_logger_is_that_above_its_checkpoints(tmp_path):
    class Elsewhere(Logger):
        """A logger that knows nothing of run folders."""

        name, version, save_dir = "group", 3, str(tmp_path)
        log_metrics = log_hyperparams = lambda *_, **__: None

    trainer = RunTrainer(logger=Elsewhere(), enable_checkpointing=False, accelerator="cpu")
    assert trainer.log_dir == str(tmp_path / "group" / "version_3")


def test_what_only_draws_or_compares_pictures_is_not_imported_by_a_process_that_trains():
    """Numba and LLVM alone are 50 MiB, PyAV with its codecs 14."""
    trains = "import sys, worldgen.runs.train, worldgen.tasks.generator, worldgen.data.datamodule"
    late = ("worldgen.simulation.rendering.ray_numba", "worldgen.metrics.physics_iq.scores", "av")
    told = subprocess.run(
        [sys.executable, "-c", f"{trains}; print([one for one in {late} if one in sys.modules])"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert told.stdout.strip().splitlines()[-1] == "[]"
