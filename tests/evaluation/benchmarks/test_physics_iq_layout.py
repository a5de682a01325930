"""Official names of scenarios, videos and views."""

import hashlib

from worldgen.evaluation.benchmarks.physics_iq_layout import SCENARIOS, official_slots


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
