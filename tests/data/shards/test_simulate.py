import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from worldgen.data.shards import simulate
from worldgen.data.shards.shards import ShardWriter
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips, SimulatedClips
from worldgen.files import remove_leftovers
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


def test_a_flipped_byte_is_simulated_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(folder, out)
    shard = sorted(out.glob("*.tar"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000] + bytes([whole[3000] ^ 4]) + whole[3001:])
    simulate_shards(out, processes=1, **SMALL)
    assert shard.read_bytes() == whole


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


def test_a_range_of_shards_is_all_that_is_made(folder: Path, tmp_path: Path) -> None:
    assert simulate_shards(tmp_path, processes=1, shards="1:3", **SMALL).clips == 3
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["shard-000001.tar", "shard-000002.tar"]
    assert simulate_shards(tmp_path, processes=1, shards="0", **SMALL).clips == 2
    assert contents(tmp_path) == contents(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "Shards must lie in 0:3, the shards of these clips; got 3"),
        ("2:4", "Shards must lie in 0:3, .*; got 2:4"),
        ("-1", "Shards must lie in 0:3, .*; got -1"),
        ("2:2", "Shards must lie in 0:3, .*; got 2:2"),
        ("first", "Shards are given as 7 or as 0:100; got 'first'"),
        ("0:", "Shards are given as 7 or as 0:100; got '0:'"),
    ],
)
def test_shards_that_are_not_there(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_shards(tmp_path / "none", processes=1, shards=text, **SMALL)
    assert not (tmp_path / "none").exists()


def test_a_machine_without_the_folder_or_the_versions_refuses(tmp_path: Path) -> None:
    config = simulate.SimulationConfig(("drop",), 2, 16, 4, 25.0, 0)
    with pytest.raises(FileNotFoundError, match=r"must share the folder, .*; .* sees no .*config"):
        simulate.make_shard(tmp_path / "elsewhere", config, 0)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "config.json").touch()
    other = simulate.SimulationConfig(("drop",), 2, 16, 4, 25.0, 0, mujoco="3.2.1")
    with pytest.raises(ValueError, match=r"must have worldgen \S+ and MuJoCo 3\.2\.1; .* Install the same"):
        simulate.make_shard(tmp_path, other, 0)


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, 0) as writer:
        (tmp_path / ".shard-000000.tar.elsewhere.1.partial").touch()
        remove_leftovers(tmp_path, "shard-000000")
        assert list(tmp_path.iterdir()) == [writer._partial.path.parent]
    assert (tmp_path / "shard-000000.tar").exists()


@pytest.mark.parametrize("name", ["shard-000001.tar", "shard-000001.index.jsonl", "config.json"])
def test_killed_after_the_last_renaming_leaves_nothing_once_it_is_run_again(
    folder: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    scratch = tmp_path / f".{name}.9370caad.partial"
    scratch.mkdir()
    (scratch / "lock").touch()
    simulate_shards(tmp_path, processes=1, **SMALL)
    assert contents(tmp_path) == contents(folder)


# A child that has imported everything forks one short-lived process per kill: that is fast, and a fork of a
# single-threaded process is safe.
KILLS = """
import json, os, random, signal, sys, time
import torch
from worldgen.data.shards.shards import ShardWriter
from worldgen.files import remove_leftovers
from worldgen.data.shards.simulate import simulate_shards
torch.set_num_threads(1)
out, kills, small = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
small["families"] = tuple(small["families"])
simulate_shards(f"{out}/warm", processes=1, **small)  # compiles the renderer
begun = time.monotonic()
simulate_shards(f"{out}/whole", processes=1, **small)
seconds, moments = time.monotonic() - begun, random.Random(0)
for trial in range(kills):
    child = os.fork()
    if child == 0:
        simulate_shards(f"{out}/{trial}", processes=1, **small)
        os._exit(0)
    time.sleep(moments.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    names = sorted(os.listdir(f"{out}/{trial}")) if os.path.isdir(f"{out}/{trial}") else []
    print(json.dumps([os.WIFSIGNALED(status), names]), flush=True)
    simulate_shards(f"{out}/{trial}", processes=1, **small)
"""


def killed_at_random(tmp_path: Path, kills: int) -> list[list[str]]:
    """What each killed run left; every one was then finished, and is compared with an undisturbed run."""
    small = {**SMALL, "clips": 12, "size": 64, "frames": 16}
    command = [sys.executable, "-c", KILLS, str(tmp_path), str(kills), json.dumps(small)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    whole = contents(tmp_path / "whole")
    for trial in range(kills):
        assert contents(tmp_path / str(trial)) == whole, f"kill {trial}"
    rows = [json.loads(line) for line in told.splitlines() if line.startswith("[")]
    return [names for killed, names in rows if killed]


def test_killed_and_restarted_gives_the_same_bytes(tmp_path: Path) -> None:
    assert killed_at_random(tmp_path, 3), "one or two may come when it has ended"


@pytest.mark.slow
def test_killed_at_twenty_moments_gives_the_same_bytes(tmp_path: Path) -> None:
    left = killed_at_random(tmp_path, 20)
    assert len(left) >= 15
    assert (
        sum(any(name.endswith(".partial") for name in names) for names in left) >= 8
    )  # in the middle of one
    assert len({sum(name.endswith(".tar") for name in names) for names in left}) >= 4


@pytest.mark.slow
def test_the_command_killed_at_twenty_moments_gives_the_same_bytes(tmp_path: Path) -> None:
    words = "--families drop collide --clips 512 --size 64 --frames 16 --seed 7 --processes 2"
    command = [sys.executable, "-m", "worldgen", "simulate", *words.split(), "--out"]
    begun = time.monotonic()
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    seconds, moments, killed = time.monotonic() - begun, random.Random(1), 0
    for _ in range(20):  # one run after another in one folder, each killed
        running = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.DEVNULL)
        try:
            running.wait(moments.uniform(0, 0.5 * seconds))
        except subprocess.TimeoutExpired:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
            killed += 1
    subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True)
    assert killed >= 5 and contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("seed", [500, 777, 999])
def test_seeds_of_held_out_scenes_want_a_word(seed: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"are kept for scenes .* the demo's; got {seed}\..*--held-out"):
        simulate_shards(tmp_path, ("drop",), 1, size=8, frames=2, seed=seed, processes=1)
    assert not any(tmp_path.iterdir())
    done = simulate_shards(tmp_path, ("drop",), 1, size=8, frames=2, seed=seed, processes=1, held_out=True)
    assert done.clips == 1
