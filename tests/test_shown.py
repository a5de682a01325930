import base64
import io
import re
from dataclasses import replace

import torch
from PIL import Image
from torch.testing import assert_close

from worldgen.data.batching import stack_clips
from worldgen.metrics.checks.scoring import blank, not_applicable
from worldgen.shown import encode_png
from worldgen.simulation.clips import simulate_clip
from worldgen.study.ablation.tables import ResultRow, Results
from worldgen.types import Check, PhysicsReport


def test_a_png_is_read_as_what_was_written():
    picture = torch.randint(0, 256, (5, 7, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with Image.open(io.BytesIO(encode_png(picture))) as read:
        assert read.size == (7, 5) and read.mode == "RGB"
        assert bytes(read.tobytes()) == bytes(picture.flatten().tolist())


def test_a_clip_shows_its_first_and_last_frames_and_what_is_said():
    clip = replace(simulate_clip("bounce", 0, size=24), prompts=("a <b>ball</b> & more",))
    shown = clip._repr_html_()
    (data,) = re.findall(r"base64,([^\"]+)", shown)
    with Image.open(io.BytesIO(base64.b64decode(data))) as strip:
        assert strip.size == (8 * 24, 24)
        pixels = torch.frombuffer(bytearray(strip.tobytes()), dtype=torch.uint8).view(24, 8, 24, 3) / 255
    first, last = pixels[:, 0].permute(2, 0, 1), pixels[:, 7].permute(2, 0, 1)
    assert_close(first, clip.frames[0, 0], atol=1 / 254, rtol=0)
    assert_close(last, clip.frames[0, -1], atol=1 / 254, rtol=0)
    assert "a &lt;b&gt;ball&lt;/b&gt; &amp; more<br>16 frames of 24 x 24 at 25 a second" in shown


def test_of_many_clips_the_rest_is_counted():
    shown = stack_clips([simulate_clip("bounce", seed, size=8) for seed in range(6)])._repr_html_()
    assert shown.count("<img") == 4 and "and 2 more clips" in shown


def test_a_trajectory_shows_paths_from_the_side_with_their_size():
    truth = simulate_clip("drop", 0, size=8).truth
    shown = truth._repr_html_()
    assert shown.count("<polyline") == 2 and "2 objects over 16 frames of 0.04 s" in shown
    tall = float(truth.position[..., 2].max() - truth.position[..., 2].min())
    assert f"x {tall:.3g} m" in shown
    points = re.findall(r'points="([^"]+)"', shown)[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights[3] > heights[0]  # what falls goes down on the screen
    gone = replace(truth, present=torch.zeros_like(truth.present))
    assert gone._repr_html_() == "2 objects over 16 frames, none of them present"


def test_a_report_shows_every_check_and_why_one_does_not_apply():
    report = PhysicsReport(
        "<x>",
        "readout",
        (
            Check("free_fall", 0.02, "of g", 0.1, 0.9),
            Check("motion", 3.0, "radii", 1.0, 1.0, passes="above"),
            Check("momentum", None, "", 0.1, None, "masses & floor unknown"),
        ),
    )
    shown = report._repr_html_()
    assert "&lt;x&gt;, by readout" in shown
    assert "<th>free_fall</th><td>0.02 of g</td><td>at most 0.1</td><td>0.90</td>" in shown
    assert "<td>3 radii</td><td>at least 1</td>" in shown
    assert "does not apply: masses &amp; floor unknown" in shown


def test_why_a_check_does_not_apply_is_said_once():
    check = not_applicable(blank("momentum", "", 0.1, ()), "nothing collides")
    assert PhysicsReport("x", "truth", (check,))._repr_html_().count("does not apply") == 1


def test_a_study_shows_each_arm_beside_the_base():
    base = ResultRow("base", "error", "px", 2, 4, 0, 12.34, 12.0)
    arm = ResultRow(
        "<no>", "error", "px", 2, 4, 0, 11.0, 11.0, -1.34, -2.0, -0.5, 0.01, 0.02, verdict="better"
    )
    shown = Results("error", (base, arm), (), ())._repr_html_()
    assert "<th>error</th><th>base</th><td>12.3 px</td><td></td>" in shown
    row = "<th>&lt;no&gt;</th><td>11 px</td><td>-1.34 px</td><td>-2 .. -0.5</td><td>0.020</td><td>better</td>"
    assert row in shown
