"""The generator stands still while a control learns to steer it."""

import sys

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.testing import assert_close

from worldgen.cli import main as cli
from worldgen.conditioning import Conditioner
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.media import read_video, write_video
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.codec import KLCodec
from worldgen.diffusion.control import load_control
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.maps import EdgeMap, MaskMap
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.generation.controls import open_controls, steer
from worldgen.model import WorldModel
from worldgen.runs.folder import HOME, open_run
from worldgen.tasks.parts.control import ControlTask

RUN = HOME / "assets" / "nano" / "generator"


def generator(seed=0):
    torch.manual_seed(seed)
    model = WorldModel(
        codec=KLCodec(channels=4, widths=(16, 16, 16), temporal_stride=3),
        conditioner=Conditioner(dim=16, queries=2),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=2, heads=2),
        process=CleanFlowMatching(),
        sampler=Sampler(steps=2),
    )
    for weight in model.denoiser.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 16, size=16, frames=7, processes=1)
    return folder


def fit(shards, out, model, steps, checkpoint=None):
    task = ControlTask(model, MaskMap(2), width=8, lr=1e-2, cache=out.parent / "cache", average=0.5)
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=CSVLogger(out, "", ""),
        callbacks=[ModelCheckpoint(filename="{step}", every_n_train_steps=2, save_last=True, save_top_k=-1)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
    )
    trainer.fit(task, ClipDataModule(train=shards, val=shards, batch_size=4), ckpt_path=checkpoint)
    return task, trainer


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    model = generator()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task, trainer = fit(shards, out, model, 8)
    return task, trainer, before, out


def test_only_the_control_learns_and_only_it_is_kept(trained):
    task, trainer, before, out = trained
    after = task.generator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert any(head.weight.any() for head in task.control.heads)
    checkpoint = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"control", "average"}
    kept = load_control(out / "control")
    with task.average.applied():
        assert_close(kept.heads[0].weight, task.control.heads[0].weight, atol=1e-3, rtol=1e-3)
    assert {"val/loss", "val/loss_without_control"} <= set(trainer.callback_metrics)


def test_a_resumed_control_ends_with_the_same_bits(shards, trained, tmp_path):
    task, _, _, out = trained
    resumed, _ = fit(shards, tmp_path / "rest", generator(), 8, out / "checkpoints" / "step=4.ckpt")
    found, whole = resumed._learned(), task._learned()
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], value) for name, value in whole.items())


def test_a_checkpoint_of_another_generator_is_refused(trained):
    _, _, _, out = trained
    checkpoint = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    with pytest.raises(ValueError, match="must be of a control of the generator"):
        ControlTask(generator(seed=1), MaskMap(2), width=8).on_load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="must be of this control; its tensors differ"):
        ControlTask(generator(), MaskMap(2), width=4).on_load_checkpoint(checkpoint)


def test_a_trained_control_steers_and_is_of_its_generator_alone(trained, shards):
    task, _, _, out = trained
    model = task.generator.eval()
    clips = ShardedClips(shards)
    controls = open_controls([out / "control"], model)
    start, other = clips[1], clips[3]
    plain, none, own, foreign, weak = (
        model.generate(start, 7, 0, residuals=residuals).frames
        for residuals in (
            None,
            steer(model, (), (), start),
            steer(model, controls, [1.0], start),
            steer(model, controls, [1.0], other),
            steer(model, controls, [0.0], other),
        )
    )
    assert torch.equal(plain, none) and torch.equal(plain, weak)
    assert not torch.equal(plain, own) and not torch.equal(own, foreign)
    with pytest.raises(ValueError, match="must be a control of this generator"):
        open_controls([out / "control"], generator(seed=1))
    with pytest.raises(ValueError, match="Each of 1 controls must have a scale; got 2"):
        steer(model, controls, [1.0, 1.0], start)


# ------------------------------------------------------------------- the command, with the shipped weights


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    """A control of the shipped generator by edges that says something, though nothing learned."""
    folder = tmp_path_factory.mktemp("edges")
    torch.manual_seed(0)
    control = ControlTask(open_run(RUN), EdgeMap(), width=8).control
    for head in control.heads:
        torch.nn.init.normal_(head.weight, std=0.1)
    control.save(folder)
    return folder


def words(tmp_path, *more):
    given = ["generate", str(RUN), "--prompt", "a red ball drops", "--out", str(tmp_path / "out.mp4")]
    return [*given, "--first-frames", str(tmp_path / "start.mp4"), *more]


def test_generate_follows_a_video_or_a_clip_of_shards(edges, tmp_path):
    simulate_shards(tmp_path / "shards", ("drop",), 2, processes=1)
    clips = ShardedClips(tmp_path / "shards")
    write_video(tmp_path / "start.mp4", clips[0].frames[0], 25.0)
    made = []
    for more in (
        [],
        ["--control", str(edges), "--control-from", str(tmp_path / "start.mp4")],
        ["--control", str(edges), "--control-from", f"{tmp_path / 'shards'}:1"],
        ["--control", str(edges), "--control-from", f"{tmp_path / 'shards'}:1", "--control-scale", "0"],
        ["--control", str(edges), str(edges), "--control-scale", "0.5", "0.5"]
        + ["--control-from", f"{tmp_path / 'shards'}:1"],
    ):
        cli.main(words(tmp_path, *more))
        made.append(read_video(tmp_path / "out.mp4")[0])
    plain, video, shard, none, halves = made
    assert torch.equal(plain, none) and not torch.equal(plain, video) and not torch.equal(video, shard)
    assert (shard.float() - halves.float()).abs().mean() < 2  # of 255, after compression
    (tmp_path / "out.mp4").unlink()
    write_video(tmp_path / "short.mp4", clips[0].frames[0, :9], 25.0)
    for more, sentence in (
        (["--control", str(edges)], "--control and --control-from go together"),
        (["--control-from", "x.mp4"], "--control and --control-from go together"),
        (
            ["--control", str(tmp_path), "--control-from", str(tmp_path / "start.mp4")],
            "must hold config.json",
        ),
        (["--control", str(edges), "--control-from", "nowhere.mp4"], "No video at nowhere.mp4"),
        (["--control", str(edges), "--control-from", str(tmp_path / "short.mp4")], "has 9 of 64 x 64"),
        (
            [
                "--control",
                str(edges),
                "--control-from",
                f"{tmp_path / 'shards'}:1",
                "--control-scale",
                "1",
                "1",
            ],
            "Each of 1 controls must have a scale; got 2",
        ),
    ):
        assert sentence in refused(*words(tmp_path, *more))
        assert not (tmp_path / "out.mp4").exists()


def refused(*given):
    with pytest.raises(SystemExit) as stop:
        from contextlib import redirect_stderr
        from io import StringIO

        with redirect_stderr(StringIO()) as error:
            cli.main(given)
    assert stop.value.code == 2
    lines = error.getvalue().strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_pretrain_control_trains_from_its_yaml(tmp_path, monkeypatch):
    simulate_shards(tmp_path / "shards", ("drop",), 4, processes=1)
    monkeypatch.chdir(HOME)
    monkeypatch.setattr(sys, "argv", ["worldgen"])
    given = [
        "pretrain",
        "control",
        "-c",
        "configs/tasks/control.yaml",
        "--data.train",
        str(tmp_path / "shards"),
    ]
    given += ["--data.val", "null", "--data.batch_size", "2", "--trainer.max_steps", "2"]
    given += ["--model.cache", str(tmp_path / "cache"), "--trainer.logger.init_args.save_dir", str(tmp_path)]
    cli.main(given)
    (folder,) = tmp_path.glob("control/*/control")
    (control,) = open_controls([folder], open_run(RUN))
    assert control.maps == MaskMap(2) and any(head.weight.any() for head in control.heads)
