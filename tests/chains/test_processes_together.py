"""One training in several processes: the losses of one alone, stops, deaths, Slurm."""

import os
import signal
import stat
import time

import pytest
import torch
from torch.testing import assert_close

from tests.runs import ranks
from tests.runs.line import step_of
from worldgen.data.shards.simulate import simulate_shards
from worldgen.runs.folder import HOME

SMALL = {
    "model.codec": "worldgen.diffusion.state_codec.StateCodec",
    "model.conditioner.text": "null",
    "model.conditioner.dim": 16,
    "model.conditioner.queries": 2,
    "model.denoiser.init_args.dim": 24,
    "model.denoiser.init_args.depth": 1,
    "model.denoiser.init_args.heads": 2,
    "model.denoiser.init_args.patch": "[1,1,1]",
    "model.sampled": 0,
    "model.measures": "[]",
    "data.batch_size": 4,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": "false",
    "trainer.log_every_n_steps": 1,
}
SPARE = {"SLURM_JOB_ID": "71", "SLURM_JOB_NAME": "w", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
SPARE["SLURM_NODEID"] = "0"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 40, size=16, frames=8, processes=1, clips_per_shard=40)
    return folder


def words(shards, out, **more):
    given = {**SMALL, "data.train": shards, "model.cache": out / "cache", "trainer.default_root_dir": out}
    given |= {
        "trainer.logger.init_args.save_dir": out,
        **{key.replace("__", "."): one for key, one in more.items()},
    }
    return [
        "fit",
        "-c",
        str(HOME / "configs/base.yaml"),
        *(f"--{key}={value}" for key, value in given.items()),
    ]


def fit(given, folder, at=-1, what=""):
    """Train in this process, and keep the losses of its batches."""
    from lightning.pytorch import Callback

    from worldgen.data.datamodule import ClipDataModule
    from worldgen.runs.train import run_lightning
    from worldgen.tasks.generator import WorldGenerator

    losses = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.append(float(outputs["loss"]))
            if trainer.global_step == at:
                mine = os.environ.get("LOCAL_RANK", "0")
                if what == "kill" and mine == "1":
                    os.kill(os.getpid(), signal.SIGKILL)
                if what == "hang" and mine == "0":
                    open(f"{folder}/ready", "w").close()
                    while not os.path.exists(f"{folder}/go"):
                        time.sleep(0.1)

    cli = run_lightning(WorldGenerator, ClipDataModule, given, callbacks=[Keep()])
    rank, gathered = cli.trainer.global_rank, cli.trainer.accumulate_grad_batches
    scaled = [loss * gathered for loss in losses]  # Lightning has divided them
    torch.save({"losses": scaled, "weights": cli.model.model.trained_state()}, f"{folder}/kept.{rank}")


TWO = {"trainer__devices": 2, "trainer__strategy": "ddp"}


def test_two_processes_have_the_losses_of_one_that_gathers_as_many_clips(shards, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    alone = words(shards, one, trainer__max_steps=7, trainer__accumulate_grad_batches=2)
    assert ranks.run(1, fit, alone, one, folder=one)[0] == [0], (one / "said.0").read_text()
    both = words(shards, two, trainer__max_steps=7, **TWO)
    codes, said = ranks.run(2, fit, both, two, folder=two)
    assert codes == [0, 0], said
    whole, first, second = (torch.load(path) for path in (one / "kept.0", two / "kept.0", two / "kept.1"))
    in_turn = [loss for pair in zip(first["losses"], second["losses"], strict=True) for loss in pair]
    assert len(in_turn) == 14 and in_turn == pytest.approx(whole["losses"], rel=1e-5)
    assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    assert_close(first["weights"], whole["weights"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_all_with_a_sentence(shards, tmp_path, victim):
    given = words(shards, tmp_path, trainer__max_steps=40, **TWO)
    if victim:
        codes, said = ranks.run(2, fit, given, tmp_path, 4, "kill", folder=tmp_path)
    else:
        started = ranks.start(2, fit, given, tmp_path, 4, "hang", folder=tmp_path)
        while not (tmp_path / "ready").exists() and started[0].is_alive():
            time.sleep(0.2)
        started[0].kill()
        codes, said = ranks.wait(started, tmp_path)
    other = 1 - victim
    assert codes[victim] == -signal.SIGKILL and codes[other] not in (0, None), said
    assert "Process" in said[other] and "has ended, and all others with it. Go on from" in said[other]


def test_a_slurm_job_that_is_preempted_is_queued_again_and_goes_on_by_itself(shards, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "scontrol").write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n")
    (tools / "scontrol").chmod(stat.S_IRWXU)
    job = {**SPARE, "PATH": f"{tools}:{os.environ['PATH']}"}
    given = words(shards, tmp_path, trainer__max_steps=30, **TWO)
    started = ranks.start(2, fit, given, tmp_path, 6, "hang", folder=tmp_path, more=job)
    while not (tmp_path / "ready").exists() and started[0].is_alive():
        time.sleep(0.2)
    assert all(one.is_alive() for one in started), (tmp_path / "said.0").read_text()
    os.kill(started[1].pid, signal.SIGUSR1)  # each hears it amid something else, and they stop together
    os.kill(started[0].pid, signal.SIGUSR1)
    (tmp_path / "go").touch()
    codes, said = ranks.wait(started, tmp_path)
    assert codes == [128 + signal.SIGUSR1] * 2, said
    assert (tmp_path / "asked").read_text() == "requeue 71\n"
    (last,) = tmp_path.rglob("last.ckpt")
    stopped = step_of(last)
    assert 6 <= stopped < 30
    again = {**job, "SLURM_RESTART_COUNT": "1"}
    codes, said = ranks.run(2, fit, given, tmp_path, folder=tmp_path, more=again)
    assert codes == [0, 0], said
    kept = torch.load(tmp_path / "kept.0")
    assert len(kept["losses"]) == 30 - stopped


def test_a_slurm_job_without_time_for_a_checkpoint_is_refused(shards, tmp_path):
    job = {
        **SPARE,
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }
    job["SLURM_JOB_END_TIME"] = str(int(time.time()) + 50)
    given = words(shards, tmp_path, trainer__max_steps=3)
    codes, said = ranks.run(1, ranks.command, given, folder=tmp_path, more=job)
    assert codes == [2] and "A Slurm job must last at least 120 s" in said[0], said
