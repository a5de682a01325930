"""Calibration: exact on values by hand, and the control matrix: who must see what, and who must not."""

import json

import numpy as np
import pytest

from worldgen.metrics.calibration.calibration import (
    ORIGINAL,
    SECOND_TAKE,
    Observation,
    declares,
    shipped_lines,
    short_lines,
    summarize,
)
from worldgen.metrics.intervals import wilson_interval
from worldgen.simulation.violations.graded import (
    GRADES,
    LOOKS,
)
from worldgen.types import Check


def seen(value: float, limit: float = 1.0, blind_to=(), passes="below", name="thing") -> Check:
    score = 0.9 if (value < limit) == (passes == "below") else 0.1
    return Check(name, value, "m", limit, score, blind_to=blind_to, passes=passes)


def observed(violation: str, strength: float, checks, seed: int) -> Observation:
    return Observation("drop", seed, violation, strength, "m", checks)


def calibrated(values, **options):
    """One check over eight worlds; ``values`` are those at strengths 0.5 and 1 of a teleport."""
    observations = []
    for seed in range(8):
        noise = 0.01 * seed
        sign = -1 if options.get("passes") == "above" else 1
        observations += [
            observed(ORIGINAL, 0.0, (seen(sign * noise, **options),), seed),
            observed(SECOND_TAKE, 0.0, (seen(sign * (noise + 0.005), **options),), seed),
            *(
                observed("teleport", strength, (seen(sign * value + sign * noise, **options),), seed)
                for strength, value in zip((0.5, 1.0), values, strict=True)
            ),
        ]
    return summarize(observations, "truth")


def test_what_grows_beyond_the_limit_is_seen():
    found = calibrated((0.5, 2.0))
    detection = found.detection("thing", "teleport")
    assert (detection.finding, detection.auroc, detection.monotony) == ("sees", 1.0, pytest.approx(1.0))
    assert not detection.declared and not found.mismatches
    half, full = found.cells
    assert (half.strength, half.caught, full.caught, full.alarms) == (0.5, 0.0, 1.0, 0.0)
    # Complete separation of eight worlds is not certain: Wilson's interval, not the bootstrap's.
    assert (full.low, full.high) == (pytest.approx(8 / (8 + 1.959964**2)), 1.0)
    assert full.clips == full.judged == 8 and found.clips == 8
    floor = {item.violation: item for item in found.floors}
    assert floor[ORIGINAL].median == pytest.approx(0.035) and floor[ORIGINAL].alarms == 0
    assert floor[SECOND_TAKE].median == pytest.approx(0.04)
    assert short_lines(found) == ("thing sees: teleport",)


def test_what_changes_nothing_is_a_blind_spot_and_must_be_declared():
    found = calibrated((0.0, 0.0))
    detection = found.detection("thing", "teleport")
    assert detection.finding == "blind" and detection.auroc < 0.6 and detection.monotony == 0
    assert found.mismatches == ("thing is blind to teleport, and does not say so.",)
    assert short_lines(found) == ("thing blind to: teleport",)
    honest = calibrated((0.0, 0.0), blind_to=("teleport between flights",))
    assert not honest.mismatches and honest.detection("thing", "teleport").declared
    modest = calibrated((2.0, 3.0), blind_to=("teleport",))
    assert modest.mismatches == ("thing is declared blind to teleport, but sees it (AUROC 1.00).",)


def test_from_pixels_a_check_may_see_more_than_its_formula():
    modest = [observed(ORIGINAL, 0.0, (seen(0.01 * n, blind_to=("teleport",)),), n) for n in range(8)]
    modest += [observed("teleport", 0.3, (seen(3.0, blind_to=("teleport",)),), n) for n in range(8)]
    found = summarize(modest, "readout")
    assert not found.mismatches
    assert found.in_pixels == ("thing sees teleport (AUROC 1.00) in pixels, though its formula does not.",)
    assert len(summarize(modest, "truth").mismatches) == 1 and not summarize(modest, "truth").in_pixels


def test_checks_that_pass_above_their_limit_are_turned():
    found = calibrated((1.0, 3.0), passes="above", limit=-0.5)
    detection = found.detection("thing", "teleport")
    assert detection.finding == "sees" and detection.auroc == 1 and detection.monotony == pytest.approx(1.0)
    worst = next(item.worst for item in found.floors if item.violation == ORIGINAL)
    assert worst == pytest.approx(-np.quantile(0.01 * np.arange(8), 0.95))


def summed(right, broken):
    """One check over as many worlds as there are values: of the right clip, and of one vanishing at 0.5."""
    return summarize(
        [
            observed(violation, strength, (seen(value),), seed)
            for violation, strength, values in ((ORIGINAL, 0.0, right), ("vanish", 0.5, broken))
            for seed, value in enumerate(values)
        ],
        "truth",
    )


def test_a_finding_needs_more_than_alarms():
    often = (0.1, 2.0, 2.0, 2.0, 0.1, 0.1, 2.0, 2.0)
    assert summed(often, often).detection("thing", "vanish").finding == "blind"  # it alarms on truth as often
    more = summed((0.1, 2.0, 2.0, 0.1, 0.1, 0.1, 0.1, 0.1), often)
    assert more.detection("thing", "vanish").finding == "partly"  # chance may do as much
    rarely = summed((0.1,) * 8, (2.0, 2.0, *[0.5] * 6)).detection("thing", "vanish")
    assert (rarely.finding, rarely.auroc) == ("partly", 1.0)  # it tells them apart, and rarely alarms


def test_nothing_is_concluded_from_four_clips():
    assert summed((0.1,) * 4, (2.0,) * 4).detection("thing", "vanish").finding == "not judged"
    five = summed((0.1,) * 5, (2.0,) * 5).detection("thing", "vanish")
    assert (five.finding, five.monotony) == ("sees", None)  # one strength and truth make no order


def test_rounding_is_no_evidence_and_no_number_is_the_worst():
    found = summed((0.1,) * 8, (0.1 + 1e-6,) * 8)
    (cell,) = found.cells
    assert cell.auroc == 0.5 and (cell.low, cell.high) == wilson_interval(0.5, 8)
    assert calibrated((1e-6, 2e-6)).detection("thing", "teleport").monotony == 0
    wild = summed((0.1,) * 8, (float("inf"),) * 8)
    assert wild.cells[0].auroc == 1


def test_clips_of_one_world_are_one_trial():
    observations = [
        observed(violation, strength, (seen(value),), seed)
        for seed in range(6)
        for violation, strength, value in ((ORIGINAL, 0.0, 0.1), ("vanish", 0.5, 2.0), ("vanish", 0.5, 3.0))
    ]
    (cell,) = summarize(observations, "truth").cells
    assert (cell.judged, cell.low) == (12, wilson_interval(1.0, 6)[0])


def test_the_limit_itself_passes():
    just = Check("thing", 1.0, "m", 1.0, 0.5)
    observations = [
        observed(violation, strength, (just,), seed)
        for seed in range(5)
        for violation, strength in ((ORIGINAL, 0.0), ("vanish", 0.5))
    ]
    found = summarize(observations, "truth")
    assert found.cells[0].caught == found.floors[0].alarms == 0


def test_a_check_that_only_broken_clips_have_is_listed():
    observations = [observed(ORIGINAL, 0.0, (seen(0.1),), seed) for seed in range(6)]
    observations += [observed("vanish", 0.5, (seen(2.0, name="other"),), seed) for seed in range(6)]
    found = summarize(observations, "truth")
    assert found.checks == ("thing", "other") and found.cells[1].auroc is None


def test_refused_checks_are_counted_and_left_out():
    refused = Check("thing", None, "m", 1.0, None, note="does not apply: no motion")
    observations = [observed(ORIGINAL, 0.0, (seen(0.1),), seed) for seed in range(6)]
    observations += [
        observed("vanish", 0.5, (seen(2.0) if seed < 2 else refused,), seed) for seed in range(6)
    ]
    found = summarize(observations, "truth")
    assert (found.cells[0].clips, found.cells[0].judged, found.cells[0].caught) == (6, 2, 1.0)
    assert found.detection("thing", "vanish").finding == "not judged"
    assert short_lines(found) == ("thing judged too few clips",)
    with pytest.raises(ValueError, match="right and broken clips; got 6 and 0. Simulate more"):
        summarize(observations[:6], "truth")


def test_blind_spots_are_read_from_their_words():
    check = seen(0.0, blind_to=("time reversal", "wrong or zero gravity", "a copy that appears"))
    told = [grade.name for grade in GRADES if declares(check, grade.name)]
    assert told == ["reversed", "weak gravity", "strong gravity", "duplicate"]
    stays = seen(0.0, blind_to=("every violation by what stays visible",))
    assert [g.name for g in GRADES if not declares(stays, g.name)] == ["vanish", "duplicate"]
    looks = seen(0.0, blind_to=("changes of color or size",))
    assert [g.name for g in (*GRADES, *LOOKS) if declares(looks, g.name)] == ["recolor", "swell"]
    tracked = seen(0.0, blind_to=("from pixels: a copy that appears",))
    assert declares(tracked, "duplicate", "readout") and not declares(tracked, "duplicate")


def test_reports_quote_the_shipped_calibration_of_their_source(tmp_path):
    found = {
        "worlds": 8,
        "command": "worldgen calibrate",
        "short": {"free_fall": "free fall sees: x", "b": "y"},
    }
    (tmp_path / "calibration-readout.json").write_text(json.dumps(found))
    lines = shipped_lines("readout", ("free_fall", "new"), tmp_path)
    assert lines == ("From readout, 8 simulated worlds: worldgen calibrate", "free fall sees: x")
    assert shipped_lines("truth", ("free_fall",), tmp_path) == ()
    (tmp_path / "calibration-readout.json").write_text("{")
    with pytest.raises(ValueError, match="must be written by `worldgen calibrate`; it cannot be read"):
        shipped_lines("readout", ("free_fall",), tmp_path)
