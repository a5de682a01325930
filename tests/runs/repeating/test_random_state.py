import random

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from tests.runs.line import Line, Points
from worldgen.data.loader import ResumableLoader
from worldgen.runs.repeating.random_state import random_state, set_random_state
from worldgen.runs.repeating.verify_resume import WatchSteps
from worldgen.runs.train import run_lightning


def draws():
    return (
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.randn()),
        torch.rand(3).tolist(),
    )


def test_what_is_drawn_after_a_state_is_drawn_again_after_it_was_set(tmp_path):
    random.gauss(0, 1), np.random.randn()  # each keeps a second number back
    torch.save(random_state(), tmp_path / "state")
    expected = draws()
    assert draws() != expected
    set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert draws() == expected


class Dropped(Line):
    """A line whose points are left out at random, by the generator that everybody draws from."""

    def training_step(self, batch, index):
        self.drawn = [*getattr(self, "drawn", []), float(torch.rand(()))]
        return super().training_step([torch.nn.functional.dropout(batch[0], 0.5)], index)


class Batches(Points):
    def train_dataloader(self):
        return ResumableLoader(TensorDataset(torch.linspace(0, 1, 16)[:, None]), 4, collate=stacked)


def stacked(rows):
    return [torch.stack([one for (one,) in rows])]


@pytest.mark.parametrize("half", [6, 8], ids=["amid an epoch", "at its end"])
def test_a_part_with_a_dropout_goes_on_as_it_would_have(tmp_path, half):
    def fit(*words):
        settings = {"max_steps": 14, "max_epochs": -1, "accelerator": "cpu", "logger": "false"}
        settings |= {"enable_checkpointing": "false", "limit_val_batches": 0, "default_root_dir": tmp_path}
        words = [*words, *(f"--trainer.{key}={value}" for key, value in settings.items())]
        return run_lightning(Dropped, Batches, ["fit", *words], callbacks=[WatchSteps(tmp_path, half)]).model

    whole = fit()
    torch.manual_seed(99)  # who resumes has drawn something else
    resumed = fit(f"--ckpt_path={tmp_path / 'half.ckpt'}")
    assert len(resumed.drawn) == 14 - half and resumed.drawn == whole.drawn[half:]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
