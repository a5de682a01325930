"""An evaluation that was stopped goes on, and one clip that cannot be checked costs itself alone."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.evaluation import generator as evaluation
from worldgen.evaluation import judging
from worldgen.evaluation.cases import HeldOut, Unread
from worldgen.evaluation.generator import Extent, evaluate_folder, evaluate_run
from worldgen.evaluation.kept import Record, ResumeCache, stamp_of, stamp_run
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip

RUN = Path(__file__).resolve().parents[2] / "assets" / "nano" / "generator"


@pytest.fixture
def generated(monkeypatch):
    """Which clips were generated, in batches of one; and a way to stop at one of them."""
    calls: list[tuple[str, ...]] = []
    stop_at: list[int] = []
    generate = WorldModel.generate

    def counted(self, context, *arguments):
        if len(calls) in stop_at:
            raise KeyboardInterrupt
        calls.append(context.prompts)
        return generate(self, context, *arguments)

    monkeypatch.setattr(WorldModel, "generate", counted)
    monkeypatch.setattr(evaluation, "BATCH", 1)
    run = evaluation.evaluate_run

    def quickly(model, held_out, context_frames, seed, extent, *rest):
        extent = replace(extent, regression_clips=30, pictured=0)
        return run(model, held_out, context_frames, seed, extent, *rest)

    monkeypatch.setattr(evaluation, "evaluate_run", quickly)
    return calls, stop_at


def test_a_second_run_generates_only_what_is_missing(generated, tmp_path):
    calls, stop_at = generated
    simulate_shards(tmp_path / "data", ("drop",), 2, seed=8, processes=1)
    source = ShardedClips(tmp_path / "data")
    loads = [Unread("drop", partial(evaluation._read, source, index, True)) for index in range(2)]
    whole = evaluate_run(
        open_run(RUN), loads, context_frames=2, seed=0, extent=Extent(pictured=0, regression_clips=30)
    )
    assert len(calls) == 2
    calls.clear()
    stop_at.append(1)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(RUN, tmp_path / "data", out, 2, 0, None)
    assert len(calls) == 1 and len(list((out / "unfinished").iterdir())) == 1
    stop_at.clear()
    other = out / "unfinished" / "00007.safetensors"
    Record(other, "of somebody else").write("mine", {})
    evaluate_folder(RUN, tmp_path / "data", out, 2, 0, None)
    assert len(calls) == 2, "the first batch was kept"
    assert list((out / "unfinished").iterdir()) == [other], "only what was generated is removed"
    found = {row["name"]: row["value"] for row in json.loads((out / "report.json").read_text())["summary"]}
    for row in whole.rows:
        if row.name.startswith("generated: ") and "replay" not in row.name:
            assert found[row.name] == pytest.approx(row.value, rel=1e-9), row.name


def test_kept_frames_are_of_one_run_asked_one_way_about_one_clip(tmp_path):
    clip, other = simulate_clip("drop", 1, size=16), simulate_clip("drop", 2, size=16)
    run, model = tmp_path / "run", open_run(RUN)
    run.mkdir()
    (run / "config.yaml").write_text("a: 1")
    stamps = [stamp_run(run, model, 2, 0), stamp_run(run, model, 2, 1)]
    (run / "report").mkdir()
    (run / "report" / "00000.safetensors").write_bytes(b"an evaluation of it")
    assert stamp_run(run, model, 2, 0) == stamps[0]
    (run / "model.safetensors").write_bytes(b"other")
    stamps.append(stamp_run(run, model, 2, 0))
    assert len(set(stamps)) == 3
    kept = [ResumeCache(tmp_path / "kept", stamp) for stamp in stamps]
    assert torch.equal(kept[0].recall(0, clip, lambda: clip.frames), clip.frames)
    assert torch.equal(kept[0].recall(0, clip, lambda: other.frames), clip.frames)
    assert torch.equal(kept[1].recall(0, clip, lambda: other.frames), other.frames)
    assert torch.equal(kept[1].recall(0, other, lambda: clip.frames), clip.frames)
    loud = replace(other, sound=torch.ones(1, 160))
    assert torch.equal(kept[1].recall(0, loud, lambda: other.frames), other.frames)
    assert torch.equal(kept[1].recall(0, other, lambda: clip.frames), clip.frames)
    (tmp_path / "kept" / "00000.safetensors").write_bytes(b"cut")
    assert torch.equal(kept[1].recall(0, other, lambda: other.frames), other.frames)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_clip_whose_checks_fail_is_counted_and_the_others_are_judged(monkeypatch):
    judge = judging.judge_clip

    def fragile(one, *arguments):
        if one.name == "drop-2":
            raise ZeroDivisionError("by its speed")
        return judge(one, *arguments)

    monkeypatch.setattr(judging, "judge_clip", fragile)
    loads = [_drop(seed) for seed in range(1, 4)]
    verdict = evaluate_run(
        open_run(RUN), loads, context_frames=2, seed=0, extent=Extent(pictured=3, regression_clips=30)
    )
    assert [case.name for case in verdict.cases] == ["drop-1", "drop-3"]
    assert verdict.skipped == [("drop-2", "checking failed (ZeroDivisionError: by its speed)")]
    assert verdict.rows[-1].name == "clips refused" and verdict.rows[-1].value == 1
    shown = verdict.cases[1].exhibits[1]
    assert shown.label == "generated" and torch.equal(
        shown.clip.frames[:, :2], simulate_clip("drop", 3).frames[:, :2]
    )


def test_where_no_clip_can_be_checked_the_first_reason_is_told(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by its speed")

    monkeypatch.setattr(judging, "judge_clip", broken)
    loads = [_drop(1)]
    with pytest.raises(ValueError, match="None of 1 clips can be checked; the first: checking failed"):
        evaluate_run(
            open_run(RUN), loads, context_frames=2, seed=0, extent=Extent(pictured=0, regression_clips=30)
        )


def _drop(seed):
    return Unread("drop", lambda: HeldOut(f"drop-{seed}", "drop", simulate_clip("drop", seed)))


def test_a_record_is_what_was_written_in_the_same_way_or_nothing(tmp_path):
    record = Record(tmp_path / "a" / "x.safetensors", "one")
    assert record.read() is None
    whole = torch.arange(6.0).reshape(2, 3)
    record.write({"words": [1, None]}, {"column": whole[:, 1]})  # a view, which safetensors does not take
    kept = record.read()
    assert kept.words == {"words": [1, None]} and kept.tensors["column"].tolist() == [1, 4]
    assert replace(record, stamp="two").read() is None
    record.path.write_bytes(record.path.read_bytes()[:-3])
    assert record.read() is None
    record.write(None)
    assert record.read() == (None, {}) and [path.name for path in record.path.parent.iterdir()] == [
        "x.safetensors"
    ]


def test_a_stamp_changes_with_the_way_and_with_every_file(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a")
    two.write_bytes(b"b")
    stamps = [
        stamp_of("way", files=[one, two]),
        stamp_of("other way", files=[one, two]),
        stamp_of("way", files=[one]),
    ]
    assert stamp_of("way", files=[one, two]) == stamps[0]
    two.write_bytes(b"bb")
    stamps.append(stamp_of("way", files=[one, two]))
    assert len(set(stamps)) == 4


@pytest.mark.parametrize(
    "name", ["x" * 243 + ".safetensors", "caf\udce9.mp4.safetensors", "a\nb.safetensors"]
)
def test_a_record_of_any_name_is_kept(tmp_path: Path, name: str) -> None:
    record, other = Record(tmp_path / name, "stamp"), Record(tmp_path / f"y{name[1:]}", "stamp")
    record.write({"a": 1})
    found = Record(tmp_path / name, "stamp").read()
    assert found is not None and found.words == {"a": 1} and other.read() is None
