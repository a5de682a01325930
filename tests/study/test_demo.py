"""The demo's scenes are its own, the families in turn, and each can be simulated again."""

from pathlib import Path

import torch

from worldgen.study import demo


def test_scenes_are_taken_in_turn_and_go_to_the_report(tmp_path, monkeypatch):
    asked = {}

    def evaluate(model, held_out, known, seed, extent):
        asked.update(held_out=held_out, known=known, seed=seed, pictured=extent.pictured)
        return "found"

    monkeypatch.setattr(demo, "open_run", lambda run: run)
    monkeypatch.setattr(demo, "evaluate_run", evaluate)
    monkeypatch.setattr(demo, "write_evaluation", lambda found, out, title, known: out / f"{found}.html")
    assert demo.run_demo(Path("run"), tmp_path, clips=4, seed=3) == tmp_path / "found.html"
    assert asked["known"] == demo.KNOWN and asked["seed"] == 3 and asked["pictured"] == 4
    scenes = [unread.read() for unread in asked["held_out"]]
    assert [unread.family for unread in asked["held_out"]] == [one.family for one in scenes]
    assert [one.family for one in scenes] == ["drop", "bounce", "collide", "drop"]
    assert scenes[0].name == "drop-777000000" and scenes[3].name == "drop-777000003"
    again = scenes[0].retake()
    assert again.prompts == scenes[0].clip.prompts
    assert not torch.equal(again.frames, scenes[0].clip.frames)
