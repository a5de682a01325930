"""What adapters learned, in files of their own."""

from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer

from tests.tasks.judged import generator
from worldgen.conditioning import Conditioner
from worldgen.diffusion.average import WeightAverage
from worldgen.encoders.adapterhub import Bottleneck
from worldgen.encoders.compositions import Saved
from worldgen.encoders.t5 import T5
from worldgen.tasks.adapters import AdapterSaver
from worldgen.tasks.generator import WorldGenerator

ROOT = Path(__file__).resolve().parents[2]


def test_what_an_adapter_learned_is_saved_at_the_end_of_a_fit(tmp_path, truth):
    text = T5(str(ROOT / "assets/nano/t5"), adapter=Bottleneck(name="first"))
    task = generator(WorldGenerator, conditioner=Conditioner(text=text, dim=16, queries=2))
    model = task.model
    for parameter in model.conditioner.text.trained().values():
        torch.nn.init.normal_(parameter, std=0.5)
    task.average = WeightAverage(model.parameters(), 0.9)
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    AdapterSaver().on_fit_end(trainer, task)
    assert [folder.name for folder in (tmp_path / "adapters").iterdir()] == ["text"]
    saved = Saved(name="first", source=str(tmp_path / "adapters/text"))
    again = T5(str(ROOT / "assets/nano/t5"), adapter=saved)
    assert torch.equal(again.encode(truth).values, model.conditioner.text.encode(truth).values)
    with pytest.raises(ValueError, match="is a callback of fits of a WorldGenerator; got LightningModule"):
        AdapterSaver().on_fit_end(trainer, LightningModule())
