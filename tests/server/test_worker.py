"""What is made of an order, in this process: the model's own bits, sentences without places."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldgen.data.media import read_video
from worldgen.generation.generate import generate
from worldgen.generation.request import Request, Shape
from worldgen.metrics.tracks.files import read_tracks
from worldgen.runs.folder import open_run
from worldgen.server.asks import EvaluateAsk, GenerateAsk, SimulateAsk
from worldgen.server.orders import GivenFile, Order
from worldgen.server.worker import MEGABYTES, JobOutcome, Ready, StepDone, work

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "assets/nano/generator"
STEPS = open_run(RUN).sampler.steps
DROP = ROOT / "assets/readme/drop.mp4"
ID = "0" * 32


class Line:
    """A connection that gives orders and keeps what comes back."""

    def __init__(self, *orders):
        self.orders, self.said = [*orders], []
        self.send = self.said.append

    def recv(self):
        if not self.orders:
            raise EOFError
        return self.orders.pop(0)


class Wanted:
    def __init__(self, wanted=True):
        self.is_set = lambda: not wanted


@pytest.fixture(autouse=True)
def limited(monkeypatch):
    """This process has no parent to die with, and must not be limited; that it would be is kept."""
    limits = []
    monkeypatch.setattr("worldgen.data.workers.die_with_parent", lambda: None)
    monkeypatch.setattr("worldgen.data.workers.limit_memory", limits.append)
    return limits


def do(*orders, cancel=None, runs=None, studies=None):
    line = Line(*orders)
    work(line, cancel or Wanted(), runs or {"generator": RUN}, studies or {})
    return line.said


def order(ask, out, path=DROP, name="my drop.mp4"):
    return Order(ask, out, {ID: GivenFile(path, name)})


def test_a_clip_is_the_one_of_the_command(tmp_path):
    ask = GenerateAsk("generator", ID, "a red ball drops", 3, 4, sound=True)
    said = do(order(ask, tmp_path), order(replace(ask, without=("text",), sound=False), tmp_path / "without"))
    outcome, without = (one for one in said if isinstance(one, JobOutcome))
    assert outcome.error == "" and outcome.files == ("clip.mp4", "clip.json")
    (same,) = generate(Request(RUN, [ask.prompt], DROP, 3, shape=Shape(4)), tmp_path / "same.mp4")
    assert outcome.result["sha256"] == same.digest != without.result["sha256"]
    assert torch.equal(*(read_video(tmp_path / f"{name}.mp4")[0] for name in ("clip", "same")))
    told = json.loads((tmp_path / "clip.json").read_text())
    assert told["request"]["first_frames"] == "my drop.mp4" and [*told["files"]] == ["my drop.mp4"]
    assert "is silent" in outcome.result["notes"][-1] and str(tmp_path) not in str(outcome)
    steps = [(one.step, one.steps) for one in said if isinstance(one, StepDone)][:STEPS]
    assert steps == [(n, STEPS) for n in range(1, STEPS + 1)]
    assert said[0].runs[0]["state"] == "finished" and said[0].runs[0]["slots"] == ["text"]
    assert isinstance(said[0], Ready) and "drop" in said[0].families


def test_a_story_is_told_by_its_shots_with_their_cuts_and_its_file(tmp_path):
    story = "a red ball drops\n0.16 s: it bounces"
    ask = GenerateAsk("generator", ID, story=story, frames=4, seed=3)
    long = replace(ask, story="a red ball drops\n3600 s: it bounces")
    said = do(*(order(one, tmp_path / str(n)) for n, one in enumerate((ask, long, replace(ask, story="x")))))
    outcome, too_long, short = (one for one in said if isinstance(one, JobOutcome))
    assert outcome.error == "" and outcome.files == ("clip.mp4", "clip.json", "story.txt")
    assert [(shot["begin"], shot["frames"]) for shot in outcome.result["shots"]] == [(0, 4), (0.16, 4)]
    assert outcome.result["shots"][1]["prompt"] == "a red ball bounces" and outcome.result["frames"] == 8
    assert "--story story.txt --first-frames 'my drop.mp4'" in outcome.command
    assert (tmp_path / "0/story.txt").read_text() == story
    assert [*json.loads((tmp_path / "0/clip.json").read_text())["files"]] == ["my drop.mp4", "story.txt"]
    steps = [(one.step, one.steps) for one in said if isinstance(one, StepDone)]
    windows = 3  # the second shot knows two frames more: two windows
    assert steps == [(n, windows * STEPS) for n in range(1, windows * STEPS + 1)]
    assert "at most 400 frames; its shots have 90004" in too_long.error
    assert short.error.startswith("story.txt must tell two shots or more") and str(tmp_path) not in str(said)


def test_keyframes_are_asked_of_the_run(tmp_path):
    asks = (GenerateAsk("generator", ID, "a red ball drops", keyframes=count) for count in (3, 25))
    said = do(*(order(ask, tmp_path) for ask in asks))
    few, most = (one.error for one in said if isinstance(one, JobOutcome))
    assert "--keyframes makes what lies between two frames; generator was not trained to" in few
    assert few == most  # 361 frames are not too many


def test_what_is_no_longer_wanted_ends_at_the_next_step(tmp_path):
    asks = GenerateAsk("generator", ID), EvaluateAsk(ID)
    said = do(*(order(ask, tmp_path) for ask in asks), cancel=Wanted(False))
    assert said.count(JobOutcome(canceled=True)) == 2
    assert not any(isinstance(one, StepDone) for one in said)


def test_a_video_is_judged_and_a_scene_filmed(tmp_path):
    simulated = SimulateAsk("drop", size=32, frames=4)
    said = do(Order(simulated, tmp_path / "scene"), order(EvaluateAsk(ID), tmp_path, name="mine.mp4"))
    scene, judged = (one for one in said if isinstance(one, JobOutcome))
    assert scene.files == ("clip.mp4", "tracks.csv", "tracks.json")
    assert read_tracks(tmp_path / "scene/tracks.csv").tracks.metric
    shown = json.loads((tmp_path / "tracks.json").read_text())
    assert len(shown["images"]) == 16 and shown["videos"][0]["width"] == 64 and shown["annotations"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["clip"] == "mine.mp4" and report["verdict"] == judged.result["verdict"]
    assert {check["name"] for check in report["checks"]} >= {"free_fall", "permanence"}


def test_errors_name_what_the_client_named_and_no_place(tmp_path):
    broken = tmp_path / f"{'0' * 32}.mp4"
    broken.write_bytes(DROP.read_bytes()[:200])
    gone = tmp_path / "gone"
    orders = (
        order(EvaluateAsk(ID), tmp_path, broken, "holiday.mp4"),
        order(GenerateAsk("gone", ID), tmp_path),
        Order(SimulateAsk("dance"), tmp_path),
    )
    said = do(*orders, runs={"gone": gone})
    errors = [one.error for one in said if isinstance(one, JobOutcome)]
    assert "holiday.mp4" in errors[0] and "gone" in errors[1] and "family must be one of" in errors[2]
    assert all(error and str(tmp_path) not in error and "0" * 32 not in error for error in errors)
    assert said[0].runs[0]["state"] == "gone"


def test_memory_is_limited_and_what_fails_is_logged_without_what_a_client_wrote(
    limited, tmp_path, monkeypatch, capsys
):
    def fail(order, run):
        raise {"much": MemoryError, "ours": KeyError}[order.ask.prompt](order.ask.prompt)

    monkeypatch.setattr("worldgen.server.worker.request_of", fail)
    monkeypatch.setattr("worldgen.server.worker._Bench._model", lambda *_: open_run(RUN))
    said = do(*(order(GenerateAsk("generator", ID, prompt), tmp_path) for prompt in ("much", "ours")))
    errors = [one.error for one in said if isinstance(one, JobOutcome)]
    assert limited == [MEGABYTES] and "needs more than 16,384 MB" in errors[0] and "KeyError" in errors[1]
    logged = capsys.readouterr().out
    assert "KeyError in a job (fail, line" in logged and "ours" not in logged
