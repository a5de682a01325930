import stat
import time

import pytest

from worldgen.runs.processes import slurm

WORDS = ["fit", "-c", "a.yaml"]


@pytest.fixture
def job(monkeypatch, tmp_path):
    """A job, and a scontrol that writes down what it is asked."""
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_END_TIME", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n")
    (tmp_path / "scontrol").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path


def test_a_job_is_named_with_its_place_in_an_array(monkeypatch, job):
    assert slurm.job_id() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert slurm.job_id() == "9_3"


def test_the_next_start_of_a_job_goes_on_from_the_note_and_no_other_does(monkeypatch, job, capsys):
    checkpoint = job / "last.ckpt"
    checkpoint.touch()
    slurm.note_checkpoint(job, WORDS, checkpoint, True)
    assert (job / "asked").read_text() == "requeue 12\n" and "is queued again" in capsys.readouterr().out
    assert slurm.noted_checkpoint(job, WORDS) is None  # not started again
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm.noted_checkpoint(job, WORDS) == checkpoint
    assert slurm.noted_checkpoint(job, [*WORDS, "--model.lr=1"]) is None
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert slurm.noted_checkpoint(job, WORDS) is None


def test_a_job_that_slurm_stopped_is_not_queued_by_us(job):
    slurm.note_checkpoint(job, WORDS, job / "last.ckpt", False)
    assert not (job / "asked").exists() and (job / "slurm-12.json").exists()


def test_a_job_that_cannot_be_queued_again_says_why(job, capsys):
    (job / "scontrol").write_text("#!/bin/sh\necho 'no such job' >&2\nexit 1\n")
    slurm.note_checkpoint(job, WORDS, job / "last.ckpt", True)
    assert "could not be (no such job) queued again" in capsys.readouterr().out


def test_the_end_of_a_job_is_seen_in_time(monkeypatch, job):
    assert not slurm.is_time_up(1e6) and slurm.seconds_left() == float("inf")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
    assert 95 < slurm.seconds_left() <= 100
    assert slurm.is_time_up(30) and not slurm.is_time_up(10)
    with pytest.raises(ValueError, match="must last at least 120 s .* longer --time"):
        slurm.require_time()
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 200))
    slurm.require_time()
