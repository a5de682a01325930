"""Who wins a pair: by hand, as tables and as a page."""

import csv
import json
from dataclasses import asdict

import pytest

from tests.evaluation.squares import THERE, brightness, write_mp4
from tests.report.pages import holds_summary, read_whole
from worldgen.evaluation.benchmarks.pair_layouts import find_likephys
from worldgen.evaluation.benchmarks.pair_tables import measure_pairs, write_pairs
from worldgen.evaluation.benchmarks.pairs import score_videos


def test_a_number_that_counts_what_is_there_wins_the_pairs_it_should(likephys, tmp_path):
    """A square that is brighter in the impossible video, once in four: by hand."""
    root = tmp_path / "pairs" / "a"
    for scene, (one, two) in enumerate([(0.5, 0.6), (0.5, 0.9), (0.6, 0.9), (0.9, 0.5)]):
        write_mp4(root / str(scene) / "valid_00.mp4", THERE, one)
        write_mp4(root / str(scene) / f"kind{scene % 2}_00.mp4", THERE, two)
    found = find_likephys(root.parent)
    pairs = found.pairs
    videos = [path for pair in pairs for path in (pair.possible, pair.impossible)]
    scored = score_videos(videos, brightness, 1, tmp_path / "scores", "mark")
    measures = {measure.name: measure for measure in measure_pairs(pairs, scored)}
    won = measures["brightness: pairs won"]
    assert won.value == 0.75 and won.n == 4 and won.low < 0.75 < won.high and won.limit == 0.5
    # Against .5 the four win, win, win and tie, twice; against .6 tie, win, win; against .9 two ties.
    assert measures["brightness: AUROC"].value == pytest.approx((2 * 3.5 + 2.5 + 1) / 16)
    nothing = measures["nothing"]
    assert nothing.value is None and "4 of 4 pairs without a value" in nothing.note
    page = write_pairs(tmp_path / "out", "title", found, scored, ("note",))
    report = json.loads(page.with_suffix(".json").read_text())
    assert report["pairs"] == {"judged": 4, "expected": found.expected} and report["notes"] == ["note"]
    text = page.read_text()
    assert read_whole(text).tags.count("svg") == 1 and "http" not in text
    holds_summary(text, [asdict(measure.row()) for measure in measures.values()])
    assert "brightness" in text[text.index("<svg") :] and text.count("4 files are not there") == 1
    assert len(report["missing"]) == len(found.missing) == 4  # each scene has one of the two kinds
    with open(page.parent / "pairs.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and float(rows[0]["value_possible"]) < float(rows[0]["value_impossible"])
