import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from worldgen.tasks.guard import LAST_SOUND, StepGuard


class Line(lightning.LightningModule):
    """A line through points; a batch is a factor of its loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.seen, self.told = [], []

    def training_step(self, batch, index):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(index))
        self.seen.append([parameter.detach().clone() for parameter in self.parameters()])
        return batch.prod() * (self.layer(x) - x.sum(dim=1, keepdim=True)).square().mean()

    def log(self, name, value, **_):
        self.told.append((name, value))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)


def fit(factors, guard, accumulate=1, **more):
    module = Line()
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[guard], gradient_clip_val=1.0,
        accumulate_grad_batches=accumulate, **more,
    )  # fmt: skip
    trainer.fit(module, DataLoader([torch.tensor([factor]) for factor in factors], batch_size=1))
    return module


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e4])
def test_a_step_that_would_harm_leaves_everything_as_it_was(bad):
    guard = StepGuard(spike=20.0, window=10)
    module = fit([*[1.0] * 15, bad, *[1.0] * 5], guard)
    assert guard.left_out == 1
    for before, after in zip(module.seen[15], module.seen[16], strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(module.seen[14][0], module.seen[15][0])
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert module.told[-1] == ("train/left_out", 1.0) and module.told[14] == ("train/left_out", 0.0)


def test_a_large_gradient_is_no_spike_before_there_is_a_rule():
    guard = StepGuard(spike=20.0, window=10)
    fit([1.0, 1e4, *[1.0] * 10], guard)
    assert guard.left_out == 0


def test_gathered_gradients_are_left_out_together():
    guard = StepGuard()
    module = fit([1.0, float("nan"), 1.0, 1.0], guard, accumulate=2)
    assert guard.left_out == 1
    assert torch.equal(module.seen[0][0], module.seen[2][0]) and torch.isfinite(module.layer.weight).all()


@pytest.mark.parametrize("has_folder", [True, False])
def test_too_many_in_a_row_stop_it_with_a_sentence_and_the_weights_of_before(has_folder, tmp_path):
    guard, module = StepGuard(patience=3), Line()
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[guard],
        logger=CSVLogger(tmp_path, name="", version="") if has_folder else False,
    )  # fmt: skip
    factors = [1.0, 1.0, float("nan"), 1.0, *[float("nan")] * 9]
    with pytest.raises(ValueError, match="sound step in 3; at step 7 the last 3 were left out, for a g") as e:
        trainer.fit(module, DataLoader([torch.tensor([factor]) for factor in factors], batch_size=1))
    assert "norm nan" in str(e.value) and "as a rule" in str(e.value) and "\n" not in str(e.value)
    assert guard.left_out == 4
    assert_close(list(module.parameters()), module.seen[4], atol=0, rtol=0)
    path = tmp_path / "checkpoints" / LAST_SOUND
    assert (str(path) if has_folder else "this run has no folder") in str(e.value)
    if has_folder:
        kept = torch.load(path, weights_only=True)["state_dict"]
        assert_close([kept["layer.weight"], kept["layer.bias"]], module.seen[4], atol=0, rtol=0)


def test_a_run_that_goes_on_leaves_out_the_same_steps():
    guard, again = StepGuard(spike=20.0), StepGuard(spike=20.0)
    fit([*[1.0] * 12, float("nan")], guard)
    again.load_state_dict(guard.state_dict())
    assert again.state_dict() == guard.state_dict() and again.left_out == 1 and len(again.norms) == 12
    fit([1e5], again)
    assert again.left_out == 2


def test_numbers_that_make_no_sense_are_refused():
    for wrong in ({"spike": 1.0}, {"spike": float("nan")}, {"window": 3}, {"patience": 0}):
        with pytest.raises(ValueError, match="StepGuard needs spike above 1, window of 10 or more"):
            StepGuard(**wrong)
