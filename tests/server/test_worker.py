"""What is made of an order, in this process: the model's own bits, sentences without places."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from worldgen.data.media import read_video
from worldgen.generation.generate import generate
from worldgen.generation.request import Request, Shape
from worldgen.runs.trained_on import TrainedOn, save_training
from worldgen.server.asks import EvaluateAsk, GenerateAsk, SimulateAsk
from worldgen.server.worker import (
    MOST_PIXELS,
    JobOutcome,
    Order,
    Ready,
    StepDone,
    command_of,
    require_modest,
    shape_of,
    verdict_of,
    work,
)
from worldgen.types import Check, PhysicsReport

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "assets/nano/generator"
DROP = ROOT / "assets/readme/drop.mp4"


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
def no_parent(monkeypatch):
    monkeypatch.setattr("worldgen.data.workers.die_with_parent", lambda: None)


def do(*orders, cancel=None, runs=None):
    line = Line(*orders)
    work(line, cancel or Wanted(), runs or {"generator": RUN})
    return line.said


def test_a_clip_is_the_one_of_the_command(tmp_path):
    ask = GenerateAsk("generator", "0" * 32, "a red ball drops", 3, 4, without_prompt=True)
    said = do(Order(ask, tmp_path, DROP, "my drop.mp4"))
    outcome = next(one for one in said if isinstance(one, JobOutcome))
    assert outcome.error == "" and outcome.files == ("clip.mp4", "without_prompt.mp4")
    [*generate(Request(RUN, [ask.prompt], DROP, 3, shape=Shape(4, 64, 25.0)), tmp_path / "same.mp4")]
    made, without, same = (
        read_video(tmp_path / f"{name}.mp4")[0] for name in ("clip", "without_prompt", "same")
    )
    assert torch.equal(made, same) and not torch.equal(without, same)
    assert (
        "--first-frames 'my drop.mp4' --out out.mp4 --seed 3 --frames 4 --context-frames 2 --size 64 --fps 25"
        in outcome.command
    )
    steps = [one for one in said if isinstance(one, StepDone)]
    assert [one.step for one in steps] == list(range(1, steps[0].steps + 1))
    assert (
        isinstance(said[0], Ready) and said[0].runs[0]["state"] == "finished" and "drop" in said[0].families
    )


def test_what_is_no_longer_wanted_ends_at_the_next_step(tmp_path):
    said = do(Order(GenerateAsk("generator", "0" * 32), tmp_path, DROP, "drop.mp4"), cancel=Wanted(False))
    assert JobOutcome(canceled=True) in said and not any(isinstance(one, StepDone) for one in said)


def test_a_video_is_judged_and_a_scene_filmed(tmp_path):
    simulated = SimulateAsk("drop", size=32, frames=4)
    said = do(Order(simulated, tmp_path), Order(EvaluateAsk("0" * 32), tmp_path, DROP, "mine.mp4"))
    scene, judged = (one for one in said if isinstance(one, JobOutcome))
    assert scene.files == ("clip.mp4",) and len(scene.result["positions"]) == 4
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["clip"] == "mine.mp4" and report["verdict"] == judged.result["verdict"]
    assert {check["name"] for check in report["checks"]} >= {"free_fall", "permanence"}


def test_errors_name_what_the_client_named_and_no_place(tmp_path):
    broken = tmp_path / f"{'0' * 32}.mp4"
    broken.write_bytes(DROP.read_bytes()[:200])
    gone = tmp_path / "gone"
    orders = (
        Order(EvaluateAsk("0" * 32), tmp_path, broken, "holiday.mp4"),
        Order(GenerateAsk("gone", "0" * 32), tmp_path, DROP, "drop.mp4"),
        Order(SimulateAsk("dance"), tmp_path),
    )
    said = do(*orders, runs={"gone": gone})
    errors = [one.error for one in said if isinstance(one, JobOutcome)]
    assert "holiday.mp4" in errors[0] and "gone" in errors[1] and "family must be one of" in errors[2]
    assert all(error and str(tmp_path) not in error and "0" * 32 not in error for error in errors)
    assert said[0].runs[0]["state"] == "gone"


def test_frames_beyond_what_a_strangers_file_may_have_are_refused(tmp_path):
    Image.new("1", (8192, 4320)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match=f"at most {MOST_PIXELS:,} pixels.*8192 x 4320. Shrink it."):
        require_modest(tmp_path / "large.png")
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "no.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    for name in ("no.png", "no.mp4"):
        with pytest.raises(ValueError, match=f"{name} is no (picture|video) that can be read"):
            require_modest(tmp_path / name)
    (tmp_path / "cut.mp4").write_bytes(DROP.read_bytes()[:400])  # what its stream is stands later
    with pytest.raises(ValueError, match="cut.mp4 has no picture that can be read"):
        require_modest(tmp_path / "cut.mp4")
    require_modest(DROP)


def test_the_verdict_counts_what_applies():
    good = Check("free_fall", 9.8, "m/s²", 1.0, 0.9)
    bad, silent = (
        replace(good, name="energy_gain", score=0.1),
        Check("damping", None, "", 1.0, None, "no swing"),
    )
    said = [
        verdict_of(PhysicsReport("x", "readout", checks))
        for checks in ((good,), (good, bad, silent), (silent,))
    ]
    assert said == [
        "Fails none of the 1 checks that apply.",
        "Fails 1 of the 2 checks that apply: energy gain. 1 did not apply.",
        "Not judged: none of 1 checks applies.",
    ]


def test_clips_are_made_as_large_and_fast_as_those_of_training(tmp_path):
    def told(height, width, fps):
        save_training(TrainedOn(16, height, width, fps), tmp_path)
        return shape_of(tmp_path, "mine")

    with pytest.raises(ValueError, match="Nobody knows what size mine was trained at"):
        (tmp_path / "config.yaml").write_text("model: {}\n")
        shape_of(tmp_path, "mine")
    assert told(48, 48, 12.5) == (48, 12.5)
    ask = GenerateAsk(run="mine", upload="0" * 32)
    assert "--size 48 --fps 12.5" in command_of(ask, tmp_path, "a.mp4", 48, 12.5)
    with pytest.raises(ValueError, match="square clips; mine was trained on 48 x 64"):
        told(48, 64, 25.0)
