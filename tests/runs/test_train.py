"""Run folders, stopping and going on, with a task that takes no time."""

import json
import os
import signal
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from worldgen.runs.stopping import FIRST_STEPS
from worldgen.runs.train import run_lightning


class Line(LightningModule):
    """A line through points; at step ``sent_at`` it is sent a signal, amid its computation."""

    def __init__(self, sent_at: int = -1, number: int = 15, frozen: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        if frozen:
            self.layer.eval()
        self.sent_at, self.number, self.sent = sent_at, number, False

    def training_step(self, batch, index):
        if self.global_step == self.sent_at and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)
        noise = torch.randn(len(batch[0]), 1, generator=torch.Generator().manual_seed(self.global_step))
        return (self.layer(batch[0]) - 2 * batch[0] + noise).square().mean()

    def validation_step(self, batch, index):
        self.log("val/loss", (self.layer(batch[0]) - 2 * batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.1)


class Points(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.linspace(0, 1, 16)[:, None]), batch_size=4)

    val_dataloader = train_dataloader


def fit(out: Path, *words, steps=30, save=True):
    callback = (
        "--trainer.callbacks={class_path: lightning.pytorch.callbacks.ModelCheckpoint, "
        "init_args: {every_n_train_steps: 500, save_last: true, save_top_k: 0}}"
    )
    logger = {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": str(out), "name": "line"},
    }
    out.mkdir(exist_ok=True)
    base = out.with_suffix(".yaml")
    base.write_text(json.dumps({"trainer": {"logger": logger}}))
    given = [
        "fit",
        f"--config={base}",
        f"--trainer.max_steps={steps}",
        "--trainer.enable_progress_bar=false",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.log_every_n_steps=1",
        *([callback] if save else []),
        *words,
    ]
    return run_lightning(Line, Points, given, "worldgen evaluate run {run}")


def step_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["global_step"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_in_its_own_folder_to_the_same_bits(tmp_path, number, capsys):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    whole = fit(tmp_path / "whole")
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path / "stopped", "--model.sent_at=7", f"--model.number={int(number)}")
    assert stop.value.code == 128 + number
    checkpoint = tmp_path / "stopped" / "line" / "version_0" / "checkpoints" / "last.ckpt"
    assert step_of(checkpoint) == 8
    said = capsys.readouterr().out
    assert "Stopped at step 8. To go on" in said and f"--ckpt_path {checkpoint}" in said
    resumed = fit(tmp_path / "stopped", "--ckpt_path", str(checkpoint))
    assert torch.equal(whole.model.layer.weight, resumed.model.layer.weight)
    assert resumed.trainer.global_step == 30
    assert [path.name for path in (tmp_path / "stopped" / "line").iterdir()] == ["version_0"]
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.ckpt"]
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_gathered_gradients_are_not_lost_by_a_stop(tmp_path):
    words = "--trainer.accumulate_grad_batches=2"
    whole = fit(tmp_path / "whole", words)
    with pytest.raises(SystemExit):
        fit(tmp_path / "stopped", words, "--model.sent_at=7")
    checkpoint = tmp_path / "stopped" / "line" / "version_0" / "checkpoints" / "last.ckpt"
    resumed = fit(tmp_path / "stopped", words, "--ckpt_path", str(checkpoint))
    assert torch.equal(whole.model.layer.weight, resumed.model.layer.weight)


@pytest.mark.parametrize("save", [True, False])
def test_the_first_checkpoint_comes_early(tmp_path, save):
    with pytest.raises(SystemExit):
        fit(tmp_path, f"--model.sent_at={FIRST_STEPS + 5}", "--model.number=15", steps=100, save=save)
    (last,) = tmp_path.rglob("last.ckpt")
    last.unlink()
    cli = fit(tmp_path, steps=FIRST_STEPS + 1, save=save)
    early = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    assert step_of(early) == FIRST_STEPS + 1 if save else FIRST_STEPS
    assert not list(tmp_path.rglob("last-v1.ckpt"))


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
