"""What a stranger's video may be, and what is said of it."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from worldgen.server.judging import MOST_PIXELS, judge, require_modest, verdict_of
from worldgen.types import Check, PhysicsReport

ROOT = Path(__file__).resolve().parents[2]
DROP = ROOT / "assets/readme/drop.mp4"


def test_whoever_judges_is_asked_at_each_frame_whether_to_go_on(tmp_path):
    def beat():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        judge(DROP, tmp_path, "drop.mp4", beat)
    assert not [*tmp_path.iterdir()]


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
