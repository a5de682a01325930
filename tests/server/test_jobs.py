"""Jobs run in order in one process, and whatever ends one, the queue goes on."""

import time
from pathlib import Path

import pytest

from worldgen.server import jobs
from worldgen.server.asks import EvaluateAsk, GenerateAsk, SimulateAsk
from worldgen.server.folder import ServerFolder
from worldgen.server.jobs import JobQueue, KeyTaken, QueueFull, ServerLimits
from worldgen.server.worker import JobOutcome, Ready, StepDone


class PlayedWorker:
    """Plays a worker; what it does to a job stands in the family that the job asks for."""

    made = 0

    def __init__(self, runs, studies):
        PlayedWorker.made += 1
        self.cancel = self
        self._said, self._dead, self._asked = [Ready((), ("drop",))], False, ""

    def set(self):
        if self._asked == "heeds":
            self._said = [JobOutcome(canceled=True)]

    def send(self, order):
        self._asked = order.ask.family
        self._said += [StepDone(1, 2, 0)]
        if self._asked == "drop":
            self._said += [JobOutcome(files=("clip.mp4",), result={"seed": order.ask.seed})]
        elif self._asked == "crash":
            self._dead = True

    def receive(self, seconds):
        time.sleep(min(seconds, 0.01))
        if self._said:
            return self._said.pop(0)
        if self._dead:
            raise EOFError
        return None

    def end(self):
        pass


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_Worker", PlayedWorker)
    PlayedWorker.made = 0
    queues = []

    def one(**limits):
        queues.append(JobQueue(ServerFolder(tmp_path), {"generator": Path("run")}, ServerLimits(**limits)))
        return queues[-1]

    yield one
    for queue in queues:
        queue.close()


def until(queue, job, *states):
    for _ in range(1000):
        if queue.find(job.id).state in states:
            return queue.find(job.id)
        time.sleep(0.01)
    raise AssertionError(f"{queue.find(job.id)} is not {states}")


def submit(queue, family="drop", seed=0, key=""):
    return queue.submit(SimulateAsk(family, seed), "simulate", key)


def test_jobs_are_done_in_order_by_one_worker(make):
    queue = make()
    given = [submit(queue, seed=seed) for seed in range(5)]
    assert [queue.ahead(job.id) for job in given] == [1, 2, 3, 4, 5]
    queue.start()
    over = [until(queue, job, "done") for job in given]
    assert [job.result["seed"] for job in over] == [0, 1, 2, 3, 4]
    assert sorted(over, key=lambda job: job.started) == over and PlayedWorker.made == 1
    assert over[0].files == ("clip.mp4",) and (over[0].step, over[0].steps) == (1, 2)
    assert queue.ready == Ready((), ("drop",))


@pytest.mark.parametrize(
    "family, said", [("crash", "ended by what it read"), ("sleeps", "took longer than 0.3 s. Ask for less.")]
)
def test_a_job_that_crashes_or_hangs_is_its_own_end(make, family, said):
    queue = make(seconds=0.3)
    queue.start()
    bad, good = submit(queue, family), submit(queue)
    assert said in until(queue, bad, "failed").error
    assert until(queue, good, "done").result == {"seed": 0} and PlayedWorker.made == 2


@pytest.mark.parametrize("family, workers", [("heeds", 1), ("sleeps", 2)])
def test_a_running_job_is_canceled_whether_it_heeds_or_not(make, family, workers):
    queue = make()
    queue.start()
    job, after = submit(queue, family), submit(queue)
    until(queue, job, "running")
    queue.cancel(job.id)
    until(queue, job, "canceled")
    until(queue, after, "done")
    assert PlayedWorker.made == workers
    assert queue.cancel(after.id).state == "done"


def test_after_a_restart_what_was_done_stays_and_what_waited_is_done(make):
    queue = make()
    done = submit(queue, seed=1, key="mine")
    queue.start()
    until(queue, done, "done")
    running, waiting = submit(queue, "sleeps"), submit(queue, seed=2)
    until(queue, running, "running")
    queue.close()
    after = make()
    assert after.find(done.id).result == {"seed": 1} and submit(after, seed=1, key="mine").id == done.id
    assert after.find(running.id).state == "interrupted" and after.find(waiting.id).state == "waiting"
    after.start()
    assert until(after, waiting, "done").result == {"seed": 2}


def test_what_cannot_be_taken_is_refused(make):
    queue = make(waiting=1)
    with pytest.raises(ValueError, match="'run' must be one of generator; got 'other'"):
        queue.submit(GenerateAsk("other", "0" * 32), "generate")
    with pytest.raises(FileNotFoundError, match="Upload the file again"):
        queue.submit(EvaluateAsk("0" * 32), "evaluate")
    submit(queue, key="mine")
    with pytest.raises(KeyTaken, match="Use a new key"):
        submit(queue, seed=1, key="mine")
    with pytest.raises(QueueFull, match="Come back in 10 s") as error:
        submit(queue)
    assert error.value.seconds == 10
