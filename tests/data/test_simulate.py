import json
import os
from pathlib import Path

import pytest
import torch

from worldgen.data import simulate
from worldgen.data.simulate import simulate_shards
from worldgen.data.sources import ShardedClips, SimulatedClips
from worldgen.types import Clip

SMALL = {
    "families": ("drop", "collide"),
    "clips": 5,
    "size": 16,
    "frames": 4,
    "clips_per_shard": 2,
    "seed": 7,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    simulate_shards(folder, processes=1, **SMALL)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_hold_the_simulated_clips(folder: Path) -> None:
    stored = ShardedClips(folder)
    fresh = SimulatedClips(("drop", "collide"), 5, seed=7, size=16, frames=4)
    assert len(stored) == len(fresh) == 5
    assert stored.name(3) == fresh.name(3) == "collide-007000003"
    for number in (4, 1):
        got, wanted = stored[number], fresh[number]
        torch.testing.assert_close(got.frames, wanted.frames, rtol=0, atol=0)
        torch.testing.assert_close(got.masks, wanted.masks)
        torch.testing.assert_close(got.truth.velocity, wanted.truth.velocity, rtol=0, atol=0)
        torch.testing.assert_close(got.depth, wanted.depth, rtol=0, atol=4e-3)
        assert (got.prompts, got.scenes) == (wanted.prompts, wanted.scenes)
        assert wanted.masks.any()
    assert not torch.equal(stored[0].truth.position, stored[2].truth.position)


def test_two_processes_write_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    summary = simulate_shards(tmp_path / "two", processes=2, **SMALL)
    assert contents(tmp_path / "two") == contents(folder)
    assert (summary.clips, summary.skipped, summary.folder) == (5, 0, tmp_path / "two")
    assert dict(os.environ) == before


def test_a_deleted_or_cut_shard_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)
    made = []
    make_shard = simulate.make_shard
    monkeypatch.setattr(
        simulate, "make_shard", lambda folder, config, k: made.append(k) or make_shard(folder, config, k)
    )
    (folder / "shard-000001.tar").unlink()
    (folder / ".shard-000001.tar.99999.partial").write_bytes(b"left by a run that was killed")
    cut = folder / "shard-000002.tar"
    cut.write_bytes(cut.read_bytes()[:1000])
    simulate_shards(folder, processes=1, **SMALL)
    assert made == [1, 2] and contents(folder) == before
    (folder / "shard-000000.index.jsonl").unlink()
    simulate_shards(folder, processes=1, **SMALL)
    assert made == [1, 2, 0] and contents(folder) == before
    simulate_shards(folder, processes=1, **SMALL)
    assert made == [1, 2, 0]


def test_another_configuration_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"another configuration \(\{'size': 16\} there, \{'size': 32\} asked"
    ):
        simulate_shards(folder, processes=1, **{**SMALL, "size": 32})
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"size": 16})[:-3])
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        simulate_shards(tmp_path, processes=1, **SMALL)
    config.unlink()
    (tmp_path / "shard-000000.tar").touch()
    with pytest.raises(ValueError, match=r"holds shards without a config\.json"):
        simulate_shards(tmp_path, processes=1, **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": ("drop", "teleport")}, "families must be among drop, .*; got teleport"),
        ({"families": ()}, "families must be among drop, .*; got none"),
        ({"clips": 0}, "clips must be positive; got 0"),
        ({"fps": -1}, "fps must be positive; got -1"),
        ({"clips": 1_000_001}, "One seed makes at most 1000000 clips; got 1000001"),
        ({"seed": -1}, "seed must not be negative; got -1"),
        ({"split": "test"}, "split must be train, id or ood:FACTOR; got 'test'"),
        ({"split": "ood:friction"}, "friction changes nothing in drop, collide; it applies to slide, topple"),
    ],
)
def test_bad_arguments(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_shards(tmp_path / "none", processes=1, **{**SMALL, **change})
    assert not (tmp_path / "none").exists()


def test_a_split_has_clips_of_its_own(folder: Path, tmp_path: Path) -> None:
    assert "split" not in json.loads((folder / "config.json").read_text())  # as folders of earlier versions
    few = {**SMALL, "clips": 2}
    simulate_shards(tmp_path / "id", processes=1, split="id", **few)
    simulate_shards(tmp_path / "ood", processes=1, split="ood:color", **few)
    inside, outside = ShardedClips(tmp_path / "id"), ShardedClips(tmp_path / "ood")
    assert inside.name(1) == "collide-007000001-id" and outside.name(1) == "collide-007000001-ood-color"
    assert not torch.equal(inside[0].frames, outside[0].frames)
    assert not torch.equal(inside[0].frames, ShardedClips(folder)[0].frames)
    with pytest.raises(ValueError, match=r"\{'split': 'id'\} there, \{'split': None\} asked"):
        simulate_shards(tmp_path / "id", processes=1, **few)


def test_bad_clips_are_reported_and_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = simulate.simulate_clip

    def sometimes(family: str, seed: int, size: int, frames: int, fps: float, split: None) -> Clip:
        if seed in (7_000_001, 7_000_002):
            raise ArithmeticError("the ball left the world")
        return good(family, seed, size, frames, fps)

    monkeypatch.setattr(simulate, "simulate_clip", sometimes)
    for _ in range(2):  # the second run finds the shards and counts the same
        summary = simulate_shards(tmp_path, processes=1, **SMALL)
        assert (summary.clips, summary.skipped) == (3, 2)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Skipped clip 1 (collide-007000001): ArithmeticError: the ball left the world" in printed
    stored = ShardedClips(tmp_path)
    assert [stored.name(number)[-1] for number in range(3)] == ["0", "3", "4"]


def test_nothing_but_bad_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object, split: None) -> Clip:
        raise ArithmeticError("no world")

    monkeypatch.setattr(simulate, "simulate_clip", never)
    with pytest.raises(ValueError, match=r"No clip of shard 0 .* first failure: clip 0 \(drop-.*: no world"):
        simulate_shards(tmp_path, processes=1, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
