"""A fit that nobody watches says how far it is, in lines."""

from types import SimpleNamespace

import pytest
import torch

from worldgen.runs import telling
from worldgen.runs.telling import TellInLog


def tell(monkeypatch, seconds, total=100):
    clock = iter(seconds)
    monkeypatch.setattr(telling.time, "monotonic", lambda: next(clock))
    trainer = SimpleNamespace(
        global_step=10,
        is_global_zero=True,
        estimated_stepping_batches=total,
        callback_metrics={"train/loss": torch.tensor(0.5)},
    )
    callback = TellInLog()
    callback.on_train_start(trainer, None)
    for _ in seconds[1:]:
        trainer.global_step += 10
        callback.on_train_batch_end(trainer, None, None, None, 0)


def test_a_line_every_half_minute_with_an_estimate(monkeypatch, capsys):
    tell(monkeypatch, [0.0, 10.0, 40.0, 60.0, 70.0])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "step 30/100, loss 0.5 in 0:00:40, about 0:02:20 left",
        "step 50/100, loss 0.5 in 0:01:10, about 0:01:27 left",
    ]


@pytest.mark.parametrize("total", [-1, float("inf")])
def test_without_an_end_there_is_no_estimate(monkeypatch, capsys, total):
    tell(monkeypatch, [0.0, 40.0], total)
    assert "left" not in capsys.readouterr().out
