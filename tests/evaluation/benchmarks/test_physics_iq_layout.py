"""Official names of scenarios, videos and views."""

import hashlib
import shutil

import pytest

from tests.evaluation.benchmarks.filmed import make
from worldgen.evaluation.benchmarks.physics_iq_layout import (
    SCENARIOS,
    VIEWS,
    find_pairs,
    find_runs,
    official_slots,
)


def test_names_are_those_of_the_official_list():
    """Lines 1, 198 and 361 of descriptions.csv; the checksum is of all its scenarios in order."""
    assert len(set(SCENARIOS)) == 66
    slots = list(official_slots())
    assert slots[0].generated_name == "0001_perspective-left_trimmed-ball-and-block-fall.mp4"
    assert (
        slots[197].real_name(1, 198).startswith("0198_testing-videos_30FPS_perspective-right_take-1_trimmed")
    )
    siphon = next(slot for slot in slots if slot.scenario == "siphon")
    assert siphon.number + 198 == 361 and siphon.view == "perspective-left"
    assert hashlib.sha256("\n".join(SCENARIOS).encode()).hexdigest()[:16] == "c35336f3a2098ec3"


def test_every_generated_video_is_judged_or_listed(tmp_path):
    made, real = make(tmp_path, scenarios=2)
    left, center, right = VIEWS
    one, two = SCENARIOS[:2]
    films = sorted(made.iterdir())
    (made / f"0001_{left}_trimmed-{one}_seed-1.mp4").write_bytes(b"again")
    films[1].rename(made / f"0002_{right}_trimmed-{one}.mp4")
    films[2].rename(made / f"0003_{right}_trimmed-{two}.mp4")
    films[3].rename(made / "0004_anything_seed-3.mp4")  # no more than the number is asked for
    films[4].rename(films[4].with_suffix(".webm"))
    films[5].rename(made / f"0006_{one}.mp4")
    for name in ("my_video.mp4", "0199_x.mp4", "0900_x.mp4", "seed-1/0001_x.mp4"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_bytes(b"video")
    layout = find_pairs(made, real)
    assert [(pair.slot.number, pair.generated.name[:4]) for pair in layout.pairs] == [(4, "0004")]
    listed = {row.file: row.reason for row in layout.missing if "real video" not in row.reason[:10]}
    listed = {file: why for file, why in listed.items() if why != "generated video missing"}
    twice = (
        "2 videos have the number 0001; keep one, or give each seed a folder of its own, with the same names"
    )
    assert listed == {
        f"0001_{left}_trimmed-{one}.mp4": twice,
        f"0001_{left}_trimmed-{one}_seed-1.mp4": twice,
        f"0002_{right}_trimmed-{one}.mp4": f"it is named {right} of {one}, but 0002 is {center} of {one}",
        f"0003_{right}_trimmed-{two}.mp4": f"it is named {right} of {two}, but 0003 is {right} of {one}",
        f"0005_{center}_trimmed-{two}.webm": "generated videos must be .mp4; convert it",
        f"0006_{one}.mp4": f"it is named {one}, but 0006 is {right} of {two}",
        "my_video.mp4": "its name must begin with a number of the benchmark, as 0001_",
        "0199_x.mp4": "0199 is the second take of 0001, whose number generated videos have",
        "0900_x.mp4": "no real video has the number 0900",
        "seed-1/": "not looked into: there are videos beside it",
    }
    gone = [row.file[:4] for row in layout.missing if row.reason == "generated video missing"]
    assert gone == [f"{number:04d}" for number in range(7, 199)], "what is refused is not missing, too"


def test_a_real_video_that_is_there_twice_is_refused(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    path = next(real.rglob("*take-1*"))
    (real / "copy").mkdir()
    (real / "copy" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(
        ValueError, match=r"must hold each video once; copy/.* and split-videos/.* Move one away"
    ):
        find_pairs(made, real)


def test_folders_of_seeds_are_runs(tmp_path):
    made, _ = make(tmp_path, views=VIEWS[:1])
    (tmp_path / "seeds" / "notes").mkdir(parents=True)
    for seed in ("seed-1", "seed-0"):
        shutil.copytree(made, tmp_path / "seeds" / seed)
    assert [run.name for run in find_runs(tmp_path / "seeds")] == ["seed-0", "seed-1"]
    assert find_runs(made) == (made,) and find_runs(tmp_path / "none") == (tmp_path / "none",)
