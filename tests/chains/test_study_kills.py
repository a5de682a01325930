"""A study that is killed at random moments ends with the bytes of one that is not."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.study.ablation import tiny_study

TABLES = ("table.csv", "cells.csv", "table.tex")


@pytest.mark.slow
def test_five_kills_change_no_byte(tmp_path):
    tiny_study.simulate(tmp_path)
    path = tiny_study.write(tmp_path / "s.yaml", tiny_study.declaration(tmp_path, budget={"steps": 30}))

    def start(name):
        words = [sys.executable, "-m", "worldgen", "ablate", str(path), "--out", str(tmp_path / name)]
        return subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)

    begun = time.monotonic()
    assert start("whole").wait() == 0
    lasted = time.monotonic() - begun
    draw, killed = random.Random(0), 0
    while killed < 5:
        process = start("killed")
        try:
            process.wait(draw.uniform(0.15, 0.6) * lasted)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        killed += 1
    assert start("killed").wait() == 0
    for name in TABLES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    left = [path for path in (tmp_path / "killed").rglob("*") if ".partial" in path.name]
    assert not left, "what killed processes wrote"
