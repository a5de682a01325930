"""Stopping and going on, to the same bits."""

import signal
from pathlib import Path

import pytest
import torch

from tests.runs.line import fit, step_of
from worldgen.runs.processes.stopping import FIRST_STEPS


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
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["last.ckpt", "previous.ckpt"]
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
def test_the_first_checkpoint_comes_early_and_in_silence(tmp_path, save, caplog):
    with pytest.raises(SystemExit):
        fit(tmp_path, f"--model.sent_at={FIRST_STEPS + 5}", "--model.number=15", steps=100, save=save)
    (last,) = tmp_path.rglob("last.ckpt")
    last.unlink()
    cli = fit(tmp_path, steps=FIRST_STEPS + 1, save=save)
    early = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    assert step_of(early) == FIRST_STEPS + 1 if save else FIRST_STEPS
    assert not list(tmp_path.rglob("last-v1.ckpt"))
    assert "max_steps" in caplog.text and "weights_only" not in caplog.text
