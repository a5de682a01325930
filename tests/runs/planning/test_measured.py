from pathlib import Path

import pytest

from worldgen.runs.planning.measured import peak_bytes, run_shortly

ROOT = Path(__file__).resolve().parents[3]


def command(folder, *more):
    return [
        "pretrain", "dynamics", "-c", f"{ROOT}/configs/tasks/dynamics.yaml", "--data.count=24",
        "--data.batch_size=16", f"--data.cache={folder / 'cache'}", "--trainer.accelerator=cpu", *more,
    ]  # fmt: skip


def test_a_short_run_is_timed_and_nothing_of_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run_shortly(command(tmp_path), 3, None, False)
    assert found.steps == 3 and found.step > 0 and found.before > 0 and found.device == 0
    assert found.host > 100 * 2**20 and peak_bytes() > 50 * 2**20
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_short_run_that_fails_says_why(tmp_path):
    with pytest.raises(ValueError, match=r"ended with 2: --data\.count must be .*leave it out: --measure 0"):
        run_shortly(command(tmp_path, "--data.count=0"), 3, None, False)
