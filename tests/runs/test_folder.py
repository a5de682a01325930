"""Run folders: what a generator is kept as, and how it comes back."""

import inspect
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from worldgen.model import WorldModel
from worldgen.runs.folder import TRAINING_KEYS, open_run
from worldgen.tasks.generator import WorldGenerator

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "assets" / "nano"


def test_weights_of_another_model_are_refused(tmp_path):
    shutil.copytree(NANO, tmp_path / "nano")
    run = tmp_path / "nano" / "generator"
    with safe_open(run / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(run / "model.safetensors")
    moved = open_run(run)  # a folder of weights can be moved as a whole
    assert torch.equal(moved.latent_std, weights["spread"].float())
    save_file({**weights, "spread": weights["spread"][None]}, run / "model.safetensors", metadata=metadata)
    with pytest.raises(
        ValueError, match="must hold the model of its config.yaml; 1 tensors differ, spread first"
    ):
        open_run(run)
    save_file(weights, run / "model.safetensors", metadata={"frozen": "KLCodec:0"})
    with pytest.raises(ValueError, match="must be used with the frozen parts of its training, KLCodec:0"):
        open_run(run)
    (run / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="must be a safetensors file"):
        open_run(run)
    (run / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no weights yet"):
        open_run(run)


def test_a_run_opens_without_its_measures(tmp_path):
    nano = ROOT / "assets" / "nano"
    text = (nano / "generator" / "config.yaml").read_text().replace("../", f"{nano}/")
    (tmp_path / "config.yaml").write_text(f"{text}  measures:\n  - class_path: somebody.elses.Measure\n")
    (tmp_path / "model.safetensors").symlink_to(nano / "generator" / "model.safetensors")
    assert isinstance(open_run(tmp_path), WorldModel)


def test_what_only_training_needs_is_known_to_who_opens_a_run():
    """A key that is neither the model's nor training's would make no run of that day open again."""
    task, model = (inspect.signature(kind).parameters for kind in (WorldGenerator, WorldModel))
    assert set(task) - set(model) == set(TRAINING_KEYS)


def test_a_value_that_a_class_cannot_take_is_refused_in_a_sentence(tmp_path):
    shutil.copytree(NANO, tmp_path / "nano")
    config = tmp_path / "nano" / "generator" / "config.yaml"
    text = config.read_text()
    assert "floor: 0.15" in text
    config.write_text(text.replace("floor: 0.15", "floor:"))  # null, which the reader of yaml lets pass
    with pytest.raises(ValueError, match="config.yaml must hold what its classes take; .*Copy it again"):
        open_run(config.parent)
