"""Benchmarks in their published layouts, made small."""

import csv

import pytest

from tests.evaluation.benchmarks.filmed import make, run
from tests.evaluation.squares import GONE, LATE, NEVER, THERE, write_movie, write_mp4
from worldgen.evaluation.benchmarks.physics_iq_layout import SCENARIOS, VIEWS


@pytest.fixture
def intphys(tmp_path):
    """One scene of two blocks; movies 1 and 3 begin alike, and 2 and 4."""
    for block in ("O1", "O3"):
        for number, (places, possible) in enumerate(
            [(THERE, True), ([None, *LATE[1:]], False), (GONE, False), (NEVER[:7] + [14], True)], 1
        ):
            write_movie(tmp_path / "dev" / block / "01" / str(number), places, possible)
    return tmp_path / "dev"


@pytest.fixture
def likephys(tmp_path):
    root = tmp_path / "likephys"
    for scene, level in (("subgroup_000", 0.9), ("subgroup_001", 0.7)):
        folder = root / "ball_drop_videos" / scene
        write_mp4(folder / "valid_00.mp4", THERE, level)
        write_mp4(folder / "valid_01.mp4", THERE[1:] + [16], level)
        write_mp4(folder / "teleport_00.mp4", [0, 2, 4, 20, 22, 24, 22, 20], level)
        write_mp4(folder / "over_bounce_00.mp4", [0, 2, 4, 6, 4, 2, 0, 2], level)
    return root


@pytest.fixture
def intphys2(tmp_path):
    root = tmp_path / "IntPhys2"
    lines = [("file_name", "SceneIndex", "name", "type", "condition", "Difficulty")]
    movies = {"1_Possible": THERE, "1_Impossible": GONE, "2_Possible": LATE, "2_Impossible": THERE[::-1]}
    for scene, condition in (("0", "permanence"), ("1_0", "solidity")):
        for kind, places in movies.items():
            name = f"Videos/{scene}-{kind}.mp4"
            write_mp4(root / "Main" / name, places, 0.9 - 0.1 * len(scene))
            lines.append((name, scene, "x", kind, condition, "Easy"))
    with open(root / "Main" / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)
    return root


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Two scenarios, of which one lacks a view and one has a damaged video."""
    root = tmp_path_factory.mktemp("benchmark")
    made, real = make(root, scenarios=3)
    (made / f"0004_{VIEWS[0]}_trimmed-{SCENARIOS[1]}.mp4").unlink()
    (made / f"0008_{VIEWS[1]}_trimmed-{SCENARIOS[2]}.mp4").write_bytes(b"not a video")
    (made / "0777_stray.mp4").write_bytes(b"nobody's")
    run(made, real, root / "out", processes=2)
    return made, real, root / "out"
