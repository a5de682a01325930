"""What is calibrated: functions from a clip, and the world that it was to show, to checks.

To calibrate another check, write such a function and add it to `TRUTH` (states known) or `READOUT` (pixels
only). It gets clips of one, and must not look at what its source does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worldgen.metrics.checks.agreement import check_pisa
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.clip import observe
from worldgen.metrics.checks.permanence import check_constancy, segment_objects
from worldgen.metrics.checks.replay import assess_replay
from worldgen.metrics.checks.scoring import not_applicable
from worldgen.metrics.checks.surroundings import Surroundings, read_surroundings
from worldgen.metrics.physics_iq.second_take import check_second_take
from worldgen.types import Check, Clip, Trajectory


@dataclass(frozen=True)
class World:
    """What a clip is held against."""

    truth: Clip
    """What happened; the clip itself, where it is true."""
    again: Clip | None = None
    """A second take of it, other than any clip that is judged; None where there is none."""


CheckSuite = Callable[[Clip, World], tuple[Check, ...]]


def check_states(clip: Clip, against: World) -> tuple[Check, ...]:
    """Every check of a trajectory, on the simulator's own states."""
    reference = against.truth
    states, true = _require_truth(clip), _require_truth(reference)
    count = states.position.shape[2]
    world = _world_of(clip if count > true.position.shape[2] else reference)
    true = _with_absent(true, count)
    report = assess(
        states,
        clip="calibration",
        source="truth",
        reference=true,
        expected=true.present[0],
        excused=torch.zeros_like(true.present[0]),  # what is there is there, seen or not
        world=world,
    )
    return report.checks


def check_pixels(clip: Clip, against: World) -> tuple[Check, ...]:
    """The same checks on what was tracked in the frames, a replay of it, and those of looks and masks."""
    reference = against.truth
    assert reference.masks is not None
    seen = observe(clip, reference, "calibration")
    shown = replace(clip, truth=None, masks=None, depth=None, scenes=None, camera=reference.camera)
    masks = segment_objects(shown, seen.tracks, reference)[0]
    checks = (
        *check_constancy(shown, seen.tracks, reference, _world_of(reference).screens),
        *check_pisa(masks, reference.masks[0]),
    )
    motion = seen.report["motion"]
    if motion.value is None or motion.value < motion.limit:
        checks = tuple(not_applicable(check, "no motion") for check in checks)
    scene = None if reference.scenes is None else reference.scenes[0]
    replayed, _ = assess_replay(seen.placed, scene, clip="calibration")
    return (*seen.report.checks, *replayed.checks, *checks)


def check_takes(clip: Clip, against: World) -> tuple[Check, ...]:
    """Physics-IQ's four numbers beside a second take; none where there is no second take."""
    return () if against.again is None else check_second_take(clip, against.truth, against.again)


TRUTH: tuple[CheckSuite, ...] = (check_states,)
READOUT: tuple[CheckSuite, ...] = (check_pixels, check_takes)


def _require_truth(clip: Clip) -> Trajectory:
    if clip.truth is None:
        raise ValueError("A judge needs clips with truth; got one without. Use simulated clips.")
    return clip.truth


def _world_of(clip: Clip) -> Surroundings:
    return read_surroundings(clip.scenes[0]) if clip.scenes else Surroundings()


def _with_absent(truth: Trajectory, count: int) -> Trajectory:
    """The truth with as many objects, those beyond its own never present."""
    extra = count - truth.position.shape[2]
    if extra <= 0:
        return truth

    def again(states: Tensor, axis: int) -> Tensor:
        return torch.cat([states, *[states.narrow(axis, 0, 1)] * extra], dim=axis)

    present = torch.cat([truth.present, *[torch.zeros_like(truth.present[:, :, :1])] * extra], dim=2)
    return replace(
        truth,
        position=again(truth.position, 2),
        rotation=again(truth.rotation, 2),
        velocity=again(truth.velocity, 2),
        spin=again(truth.spin, 2),
        mass=again(truth.mass, 1),
        extent=again(truth.extent, 1),
        present=present,
        contacts=None,
    )
