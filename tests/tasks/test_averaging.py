import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from worldgen.diffusion.average import WeightAverage
from worldgen.tasks.averaging import AveragedTask


class Fall(AveragedTask):
    """Its weight falls by 1 a step."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.0))
        self.average = WeightAverage(self.parameters(), decay)

    def training_step(self, batch, index):
        return self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_average_follows_each_step(decay):
    task = Fall(decay)
    trainer = lightning.Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, DataLoader(range(3)))
    expected = 0.0
    for step in (1, 2, 3):
        past = min(decay, (1 + step) / (10 + step))
        expected = past * expected + (1 - past) * -step
    with task.average.applied():
        assert float(task.weight.detach()) == pytest.approx(expected)
    assert float(task.weight.detach()) == -3
