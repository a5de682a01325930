from functools import cache

import pytest

from worldgen.metrics.calibration.calibration import (
    declares,
)
from worldgen.metrics.calibration.panel import World, check_pixels, check_states, check_takes
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.graded import (
    GRADES,
    NotViolable,
    freeze,
    recolor,
    reverse,
    shuffle,
    swell,
    teleport,
    vanish,
)
from worldgen.types import PhysicsReport


@cache
def judged(family: str, seed: int, name: str, strength: float, pixels: bool = False) -> PhysicsReport | None:
    clip = simulate_clip(family, seed, size=64 if pixels else 8)
    try:
        grade = next((grade for grade in GRADES if grade.name == name), None)
        shown = clip if grade is None else grade.apply(clip, strength)
    except NotViolable:
        return None
    return PhysicsReport(name, "truth", (check_pixels if pixels else check_states)(shown, World(clip)))


MATRIX = (  # who must see what: PHYSICS.md 2.1
    ("drop", 3, "weak gravity", 0.5, ("free_fall", "g_eff"), ("ballistic_residual", "energy_gain")),
    ("drop", 3, "strong gravity", 1.0, ("free_fall",), ("ballistic_residual", "permanence")),
    ("bounce", 1, "slow motion", 1.0, ("free_fall",), ("ballistic_residual", "chord_energy")),
    ("bounce", 2, "shuffled", 1.0, ("chord_energy",), ("permanence", "births", "penetration")),
    ("bounce", 2, "reversed", 1.0, ("energy_gain",), ("free_fall", "ballistic_residual", "momentum")),
    ("bounce", 1, "energy gain", 0.5, ("energy_gain",), ("free_fall", "momentum", "permanence")),
    ("bounce", 2, "teleport", 0.3, ("chord_energy", "valid_horizon"), ("free_fall", "births")),
    ("collide", 1, "pass-through", 1.0, ("penetration",), ("momentum", "permanence")),
    ("drop", 1, "pass-through", 1.0, ("penetration",), ("free_fall", "births", "chord_energy")),
    ("bounce", 2, "vanish", 0.5, ("permanence", "births"), ("chord_energy", "penetration")),
    ("bounce", 2, "duplicate", 0.5, ("permanence", "births"), ("momentum", "trajectory_error")),
    ("collide", 1, "swap", 0.5, ("identity_swaps", "chord_energy"), ("permanence", "births", "energy_gain")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("family", "seed", "name", "strength", "sees", "blind"), MATRIX, ids=lambda v: str(v)
)
def test_the_control_matrix(family, seed, name, strength, sees, blind):
    right, broken = judged(family, seed, "original", 0.0), judged(family, seed, name, strength)
    for check in sees:
        assert right[check].score > 0.5, f"{check} is alarmed by truth"
        assert broken[check].applies and broken[check].score < 0.5, f"{check}: {broken[check]}"
        assert not declares(broken[check], name), f"{check} calls itself blind to {name}"
    for check in blind:
        score = broken[check].score
        assert score is None or score >= 0.5, f"{check} must not see {name}: {broken[check]}"


def test_only_the_gate_sees_a_world_that_stands_still():
    clip = simulate_clip("bounce", 2, size=8)
    report = PhysicsReport("x", "truth", check_states(freeze(clip), World(clip)))
    assert report["motion"].value == 0 and report["motion"].score == 0
    assert all(not check.applies and "no motion" in check.note for check in report.checks[1:])


def test_no_check_alarms_on_truth():
    for family in ("drop", "collide", "pendulum", "topple", "roll", "tumble"):
        clip = simulate_clip(family, 4, size=8)
        report = PhysicsReport("x", "truth", check_states(clip, World(clip)))
        judged = [check for check in report.checks[1:] if check.score is not None]  # past the gate
        alarmed = [check.name for check in judged if check.score < 0.5]
        assert judged and not alarmed, (family, alarmed)


def test_pixels_alone_tell_the_same():
    for name, strength, check in (
        ("original", 0.0, None),
        ("vanish", 0.5, "births"),
        ("teleport", 0.3, "pisa_iou"),
    ):
        report = judged("bounce", 2, name, strength, pixels=True)
        alarmed = {check.name for check in report.checks if check.score is not None and check.score < 0.5}
        assert not alarmed if check is None else check in alarmed, alarmed


def test_a_second_take_is_the_measure_of_physics_iq():
    clip = simulate_clip("bounce", 2)
    takes = [simulate_clip("bounce", 2, take=k) for k in (1, 2)]
    against = World(clip, takes[1])
    values = {}
    for name, shown in (
        ("truth", clip),
        ("take", takes[0]),
        ("frozen", freeze(clip)),
        ("back", reverse(clip)),
    ):
        checks = check_takes(shown, against)
        assert [check.passes for check in checks] == ["above"] * 3 + ["below"]
        values[name] = {check.name.removeprefix("physics_iq_"): check for check in checks}
    assert all(check.score == 1 for check in values["truth"].values())
    for number in ("spatial", "spatiotemporal", "weighted_spatial"):
        frozen, take = values["frozen"][number], values["take"][number]
        assert frozen.value < take.value < 1 and frozen.score < 0.5, number
    assert values["back"]["spatiotemporal"].score < 0.5 < values["back"]["spatiotemporal"].limit
    assert not check_takes(clip, World(clip))


def test_only_looks_and_the_tracker_see_changed_looks():
    clip = simulate_clip("bounce", 2)
    against = World(clip)
    for broken in (recolor(clip), swell(clip, 0.5)):
        assert check_states(broken, against) == check_states(clip, against)
    grown = PhysicsReport("x", "readout", check_pixels(swell(clip, 0.5), against))
    alarmed = {check.name for check in grown.checks if check.score is not None and check.score < 0.5}
    assert alarmed == {"area_variation"}
    tinted = PhysicsReport("x", "readout", check_pixels(recolor(clip, 0.5), against))
    assert tinted["color_variation"].score < 0.5
    assert {"replay_error", "replay_misfit"} <= {check.name for check in tinted.checks if check.applies}


def test_a_ball_that_a_screen_hides_in_part_is_no_alarm():
    """Its visible part has another centroid than all of it."""
    for seed in (0, 1):
        clip = simulate_clip("occlude", seed)
        checks = check_pixels(clip, World(clip))
        judged = {check.name: check.score for check in checks if check.score is not None}
        assert {"replay_error", "replay_misfit", "permanence"} <= set(judged)
        assert not [name for name, score in judged.items() if score < 0.5]


def test_how_deep_boxes_overlap_is_not_told_by_a_track_where_they_turn():
    clip = simulate_clip("dominoes", 2)
    check = {check.name: check for check in check_pixels(clip, World(clip))}["replay_overlap"]
    assert not check.applies and "rad in the replay, and no track tells it" in check.note


@pytest.mark.parametrize(("family", "seed"), [("bounce", 2), ("collide", 1), ("pendulum", 1)])
def test_a_check_fails_on_the_side_of_its_limit_that_it_names(family, seed):
    """Tables and their AUROC read `Check.passes`; scores are made elsewhere."""
    clip = simulate_clip(family, seed)
    against = World(clip, simulate_clip(family, seed, take=1))
    failed = set()
    for shown in (clip, reverse(clip), freeze(clip, 0.5, 2), shuffle(clip), teleport(clip), vanish(clip)):
        for check in (*check_pixels(shown, against), *check_takes(shown, against)):
            if check.score is None or check.value == pytest.approx(check.limit, rel=0.02):
                continue
            if check.name == "damping":  # growth within its own uncertainty is none
                continue
            beyond = check.value < check.limit if check.passes == "above" else check.value > check.limit
            assert (check.score < 0.5) == beyond, check
            failed |= {check.name} if beyond else set()
    assert len(failed) > 8
