"""What an evaluation found, as a video of clips side by side and as a report with its notes."""

from dataclasses import replace
from html import escape

import torch

from worldgen.evaluation.page import NO_LPIPS, Evaluation, side_by_side, write_evaluation
from worldgen.metrics.checks.clip import observe
from worldgen.metrics.measure import Row
from worldgen.report.cases import Case, Exhibit
from worldgen.simulation.clips import simulate_clip


def found(count):
    """An evaluation in which what was generated is the truth with its colors turned round."""
    truth = [simulate_clip("drop", seed, size=16, frames=4) for seed in range(count)]
    made = [replace(clip, frames=1 - clip.frames) for clip in truth]
    cases = []
    for index, clip in enumerate(truth):
        seen = observe(clip, clip, f"drop-{index}")
        shown = (Exhibit("truth", clip, seen.tracks, seen.report),)
        if index == 1:  # it is counted, and not pictured
            shown = ()
        shown += (Exhibit("generated", made[index], seen.tracks, seen.report),)
        cases.append(Case(f"drop-{index}", "", 1, shown))
    return Evaluation([Row("PSNR", 20.0, unit="dB")], cases, [])


def test_truth_stands_above_what_was_generated_where_it_is_pictured():
    verdict = found(3)
    frames = side_by_side(verdict)
    assert frames.shape == (4, 3, 32, 32)
    for column, index in enumerate((0, 2)):
        part = frames[..., 16 * column : 16 * (column + 1)]
        for exhibit, half in zip(verdict.cases[index].exhibits, part.split(16, dim=2), strict=True):
            assert torch.equal(half, exhibit.clip.frames[0])
    assert side_by_side(verdict, columns=1).shape == (4, 3, 32, 16)


def test_the_report_says_what_is_known_and_a_reconstruction_is_called_one(tmp_path, capsys):
    verdict = found(1)
    page = write_evaluation(verdict, tmp_path / "a", "A title", 1)
    assert "its first 1 frames" in page.read_text() and escape(NO_LPIPS) in page.read_text()
    assert (tmp_path / "a" / "generated.mp4").stat().st_size > 0
    assert "RECONSTRUCTION" not in capsys.readouterr().out
    page = write_evaluation(replace(verdict, sees_future=("video",)), tmp_path / "b", "A title", 0)
    assert "No frame of a clip is known" in page.read_text()
    assert "RECONSTRUCTION, NOT A FORECAST: the encoder of video" in page.read_text()
    assert "RECONSTRUCTION" in capsys.readouterr().out
