import csv
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.models import build
from tests.runs import ranks
from worldgen.cli.main import main
from worldgen.data.batching import stack_clips
from worldgen.data.shards.simulate import simulate_shards
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.regularizers.base import Regularizer

ROOT = Path(__file__).resolve().parents[2]


def test_checkpoints_hold_no_frozen_weight_and_know_their_frozen_parts():
    model, checkpoint = build(WorldGenerator), {}
    model.on_save_checkpoint(checkpoint)
    assert not any(name.startswith("codec.") for name in checkpoint["state_dict"])
    model.on_load_checkpoint(dict(checkpoint))
    with pytest.raises(ValueError, match="The checkpoint must have been trained with"):
        model.on_load_checkpoint({**checkpoint, "frozen": "KLCodec:123456789abc"})


def test_a_step_reads_known_frames_through_noise_of_a_level_for_each_clip(monkeypatch):
    task, seen = build(WorldGenerator, context_noise=0.5), []
    clips = [simulate_clip("drop", seed, size=16, frames=8) for seed in (1, 2)]
    monkeypatch.setattr(
        "worldgen.tasks.generator.step_generator", lambda *_: torch.Generator().manual_seed(0)
    )
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    beside = task.model.beside
    monkeypatch.setattr(task.model, "beside", lambda *given: seen.append(given[0].level) or beside(*given))
    task.training_step(task.model.encode(stack_clips(clips)).columns(), 0)
    (level,) = seen
    assert 0 < float(level.min()) < float(level.max()) <= 0.5


def test_a_regularizer_is_told_how_much_of_training_is_done(monkeypatch):
    seen = []

    class Look(Regularizer):
        def __call__(self, model, step, generator):
            seen.append(step.progress)
            return step.estimate.mean()

    task = build(WorldGenerator, regularizers=[Look()])
    clips = [simulate_clip("drop", seed, size=16, frames=8) for seed in (1, 2)]
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    columns = task.model.encode(stack_clips(clips)).columns()
    for done in (0, 50, 150):
        trainer = SimpleNamespace(
            global_step=done,
            estimated_stepping_batches=200,
            accumulate_grad_batches=1,
            world_size=1,
            global_rank=0,
        )
        task.trainer = trainer
        task.training_step(columns, 0)
    assert seen == [0, 0.25, 0.75]


# ------------------------------------------------------------------- whole runs, in processes of their own


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 48, size=16, frames=8, processes=1, clips_per_shard=16)
    return folder


def command(shards, out, *more):
    config = out / "config.yaml"
    out.mkdir(parents=True, exist_ok=True)
    config.write_text(
        yaml.safe_dump(
            {
                "model": {
                    "codec": {
                        "class_path": "worldgen.diffusion.state_codec.StateCodec",
                        "init_args": {"objects": 2},
                    },
                    "conditioner": {"text": None, "dim": 16, "queries": 2},
                    "denoiser": {"init_args": {"dim": 24, "depth": 1, "heads": 2, "patch": [1, 1, 1]}},
                    "cache": str(out.parent / "cache"),
                    "sampled": 0,
                },
                "data": {"train": str(shards), "batch_size": 8},
                "trainer": {
                    "max_steps": 60,
                    "logger": {
                        "class_path": "lightning.pytorch.loggers.CSVLogger",
                        "init_args": {"save_dir": str(out), "name": "", "version": ""},
                    },
                    "log_every_n_steps": 1,
                    "callbacks": [
                        {
                            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                            "init_args": {"every_n_train_steps": 5, "save_last": True, "save_top_k": 0},
                        }
                    ],
                },
            }
        )
    )
    return ["fit", "-c", str(ROOT / "configs/base.yaml"), "-c", str(config), *more]


def run(words, folder):
    codes, said = ranks.run(1, ranks.command, words, folder=folder)
    assert codes == [0], said


def test_a_killed_run_that_is_resumed_ends_with_the_same_bits(shards, tmp_path):
    run(command(shards, tmp_path / "whole"), tmp_path)
    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    (process,) = ranks.start(1, ranks.command, command(shards, tmp_path / "killed"), folder=tmp_path)
    deadline = time.monotonic() + 200
    while step_of(checkpoint) < 30 and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert 30 <= step_of(checkpoint) < 60, "killed too late to show anything"
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    run(command(shards, tmp_path / "resumed", "--ckpt_path", str(checkpoint)), tmp_path)
    # All bits of weights and averages in full precision, and the loss of each step after the kill.
    names = ("whole", "resumed")
    expected, found = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in names
    )
    assert expected.keys() == found.keys() and any(name.startswith("average.") for name in expected)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    before, after = (losses(tmp_path / name / "metrics.csv") for name in names)
    assert len(after) >= 2 and all(before[step] == loss for step, loss in after.items())
    shipped = load_file(tmp_path / "resumed" / "model.safetensors")
    model = open_run(tmp_path / "resumed")
    assert_close(model.denoiser.to_patch.weight, shipped["denoiser.to_patch.weight"].float())


def step_of(checkpoint):
    """Training steps in a checkpoint; 0 while there is none (or Lightning is just putting it in place)."""
    try:
        return torch.load(checkpoint, weights_only=True)["global_step"]
    except (OSError, EOFError, RuntimeError):
        return 0


def losses(path):
    with open(path, newline="") as file:
        return {row["step"]: row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--model.lrr", "1"], "lrr"),
        (["--data.train", "nowhere"], "No folder of clips at nowhere"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--ckpt_path", str(ROOT / "README.md")], "--ckpt_path must be a whole checkpoint of this model"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(shards, tmp_path, words, sentence, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as left:
        main(command(shards, tmp_path, *words))
    assert left.value.code == 2
    said = capsys.readouterr().err
    last = said.strip().splitlines()[-1]
    assert last.startswith("worldgen: ") and sentence in last
    assert "Traceback" not in said
