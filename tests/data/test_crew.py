"""Work that several processes share: what they hand back, raise, and leave behind."""

import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch

from worldgen.data import crew
from worldgen.data.crew import Crew

ROOT = Path(__file__).resolve().parents[2]


def square(values: torch.Tensor) -> tuple[torch.Tensor, int, int]:
    if bool((values < 0).any()):
        raise ValueError(f"values must not be negative; got {values.tolist()}.")
    return values.square(), os.getpid(), torch.get_num_threads()


def write_down(text: str) -> bytes:
    return text.encode()


def end_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_and_errors_come_back(processes):
    with Crew(processes, __name__) as crew:
        promises = [crew.submit(square, torch.tensor([float(number)])) for number in range(-1, 4)]
        with pytest.raises(ValueError, match=r"must not be negative; got \[-1.0\]"):
            promises[0].result()
        found = [promise.result() for promise in promises[1:]]
    assert [float(value) for value, _, _ in found] == [0, 1, 4, 9]
    elsewhere = {process != os.getpid() for _, process, _ in found}
    assert elsewhere == {processes > 1}
    assert processes == 1 or {threads for _, _, threads in found} == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_bytes_come_back_as_they_were_made(processes):
    with Crew(processes, __name__) as crew:
        assert crew.submit(write_down, "made").result() == b"made"


def test_a_process_that_is_killed_is_told_of_and_a_crew_has_somebody():
    with Crew(2, __name__) as crew, pytest.raises(ChildProcessError, match="fewer --processes"):
        crew.submit(end_oneself).result()
    with pytest.raises(ValueError, match="processes must be at least 1; got 0"):
        Crew(0, __name__)


STARTED = """
from tests.data.test_crew import square
from worldgen.data import crew
from worldgen.data.crew import Crew
import time, torch
with Crew(2, "tests.data.test_crew") as crew:
    print(crew.submit(square, torch.ones(1)).result()[1], flush=True)
    time.sleep(60)
"""


def test_processes_end_with_the_command_that_is_killed_alone():
    command = subprocess.Popen([sys.executable, "-c", STARTED], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert command.stdout is not None
    working = int(command.stdout.readline())
    command.kill()
    command.wait()
    ended = time.monotonic() + 10
    while Path(f"/proc/{working}").exists() and time.monotonic() < ended:
        time.sleep(0.05)
    left = Path(f"/proc/{working}").exists()
    if left:
        os.kill(working, signal.SIGKILL)
    assert not left


def test_a_process_gives_memory_back_now_and_then(monkeypatch):
    given = []
    monkeypatch.setattr(crew, "give_memory_back", lambda: given.append(1))
    monkeypatch.setattr(crew, "_DONE", count(1))
    task = pickle.dumps((write_down, ("a",)))
    made = [(pickle.loads(crew._run(task)), len(given)) for _ in range(17)]
    assert {one for one, _ in made} == {b"a"}
    assert [times for _, times in made] == [0] * 7 + [1] * 8 + [2] * 2
