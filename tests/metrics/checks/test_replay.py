"""Checks by replay: true renders pass, through pixels, and violations of dynamics do not."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.metrics.elastic import bounce
from worldgen.metrics.checks.replay import (
    OwnError,
    assess_replay,
    check_contacts,
    check_energy,
    check_error,
    check_horizon,
    check_misfit,
    check_overlap,
    check_replayed_momentum,
    own_error,
    replay_rmse,
)
from worldgen.metrics.tracking.colors import track_objects, trajectory_of
from worldgen.metrics.tracks.tracker_xml import read_trk
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.replay.overlap import overlap
from worldgen.simulation.replay.replay import Replay, replay
from worldgen.simulation.violations.graded import GRADES, Grade, NotViolable
from worldgen.types import GRAVITY, Clip, PhysicsReport, Trajectory

REAL = Path(__file__).parents[4] / "shared" / "data" / "real_clips" / "ball_toss_real.trk"
SEEDS = range(4)
FAMILIES = ("drop", "bounce", "collide")
CHECKS = ("error", "horizon", "misfit", "contacts", "overlap", "energy", "momentum")


@cache
def film(family: str, seed: int) -> Clip:
    return simulate_clip(family, seed, size=64)


@cache
def tracks_of(family: str, seed: int) -> Trajectory:
    return track_objects(film(family, seed))


def report_of(tracks: Trajectory, original: Clip, **options) -> PhysicsReport:
    return assess_replay(tracks, original.scenes[0], clip="test", **options)[0]


@cache
def true_reports(family: str) -> list[PhysicsReport]:
    return [report_of(tracks_of(family, seed), film(family, seed)) for seed in SEEDS]


def values(reports: list[PhysicsReport], name: str) -> np.ndarray:
    return np.array([report[name].value for report in reports if report[name].applies])


@pytest.mark.parametrize("family", FAMILIES)
def test_true_renders_replay_within_the_trackers_error(family):
    for seed, report in zip(SEEDS, true_reports(family), strict=True):
        truth, tracks = film(family, seed).truth, tracks_of(family, seed)
        tracker = float((tracks.position - truth.position).norm(dim=-1).square().mean().sqrt())
        assert report["replay_misfit"].value < 1.5 * tracker + 1e-3
        assert report.source == "replay" and len(report.checks) == len(CHECKS)
        assert report["replay_error"].value == 0  # noise of the fitted frames explains it
        assert all(check.score > 0.5 and check.blind_to for check in report.checks if check.applies)


STRONG = (
    ("bounce", "weak gravity", 0.5),
    ("bounce", "energy gain", 0.5),
    ("bounce", "slow motion", 0.5),
    ("bounce", "teleport", 0.1),
    ("drop", "strong gravity", 0.25),
    ("drop", "frozen", 1.0),
    ("drop", "reversed", 0.5),
    ("collide", "pass-through", 1.0),
    ("collide", "shuffled", 0.5),
    ("collide", "swap", 0.25),
)


@pytest.mark.parametrize(("family", "name", "strength"), STRONG)
def test_violations_are_told_from_true_renders(family, name, strength):
    grade: Grade = next(grade for grade in GRADES if grade.name == name)
    broken = []
    for seed in SEEDS[:2]:
        clip = film(family, seed)
        try:
            tracks = track_objects(grade.apply(clip, strength), clip)
        except NotViolable:
            continue
        broken.append(report_of(tracks, clip))
    true = values(true_reports(family), "replay_misfit")
    assert len(broken) and values(broken, "replay_misfit").min() > 3 * true.max()
    assert values(broken, "replay_error").min() > 0.02


def test_the_trackers_own_error_is_subtracted_with_its_interval():
    tracks, scene = tracks_of("bounce", 0), film("bounce", 0).scenes[0]
    forecast = replay(tracks, scene)
    moved = tracks.position.clone()
    moved[:, 6:, 0, 2] += 0.3  # every later frame is 0.3 m too high
    off = replace(tracks, position=moved)
    rmse = replay_rmse(off, forecast)
    own = OwnError(0.05, 0.04, 0.06, 9)
    check = check_error(off, forecast, own)
    assert check.value == pytest.approx((rmse**2 - 0.05**2) ** 0.5)
    assert "less 0.05 m of the tracker's on 9 true renders" in check.note
    low, high = (float(word) for word in check.note.split(" m,")[0].split(" to "))
    assert low == pytest.approx((rmse**2 - 0.06**2) ** 0.5, rel=5e-3)
    assert high == pytest.approx((rmse**2 - 0.04**2) ** 0.5, rel=5e-3)
    assert check_error(off, forecast, OwnError(9.0, 9.0, 9.0, 3)).value == 0
    few, several = own_error([0.01, 0.02, 0.02, 0.03]), own_error([0.01, 0.02, 0.02, 0.03, 0.02, 0.02])
    assert few.rms == pytest.approx(0.0212, abs=1e-4) and (few.low, few.high) == (None, None)
    assert several.low < several.rms < several.high
    assert check_error(off, forecast, few).note.startswith(
        "its interval is of too few of these: 4, less 0.0212"
    )
    with pytest.raises(ValueError, match="needs the replay error of one true render or more"):
        own_error([])


def test_numbers_have_their_closed_form():
    tracks, scene = tracks_of("bounce", 0), film("bounce", 0).scenes[0]
    forecast = replay(tracks, scene)
    exact = replace(tracks, position=forecast.trajectory.position.float().clone())
    still = assess_replay(exact, scene, clip="x")[0]
    assert still["replay_error"].value < 2e-3 and still["replay_horizon"].value == 1
    radius = float(forecast.trajectory.extent[0, 0, 2])
    late = exact.position.clone()
    late[:, 11:, 0, 0] += 2 * radius
    check = report_of(replace(exact, position=late), film("bounce", 0))["replay_horizon"]
    assert check.value == pytest.approx(0.5, abs=0.11)  # 5 of the 10 frames after the first 6
    sunk = exact.position.clone()
    lowest = int(sunk[0, :, 0, 2].argmin())
    sunk[0, lowest, 0, 2] = 0.7 * radius
    check = report_of(replace(exact, position=sunk), film("bounce", 0))["replay_overlap"]
    own = float(overlap(forecast.trajectory, scene).max()) / radius
    assert check.value == pytest.approx(0.3 - own, abs=0.02) and check.score < 0.2


FRAMES, STEP = 24, 0.04
MASS = torch.tensor([[2.0, 1.0]], dtype=torch.float64)


def told(path: torch.Tensor, sigma: float = 1e-6, spread: float = 0.0) -> tuple[Trajectory, Replay]:
    """Tracks that are a replay's own: one ball on ``path`` (T 3), and one of half its mass that rests."""
    resting = torch.tensor([5.0, 0.0, 1.0]).double().expand(FRAMES, 3)
    tracks = trajectory_of(
        torch.stack([path, resting], dim=1)[None],
        torch.ones(1, FRAMES, 2, dtype=torch.bool),
        torch.tensor([STEP]).double(),
        extent=torch.full((1, 2, 3), 0.1).double(),
        mass=MASS,
    )
    wide = torch.full((FRAMES, 2), spread).double()
    forecast = Replay(tracks, wide, tracks.position[0], wide[:, 0], GRAVITY, 6, sigma, "")
    return tracks, forecast


def falls(speed: float = 1.0) -> torch.Tensor:
    time = torch.arange(FRAMES).double() * STEP
    return torch.stack([speed * time, 0 * time, 3 - GRAVITY / 2 * time**2], dim=-1)


def moved(tracks: Trajectory, **offsets: torch.Tensor) -> Trajectory:
    """The first ball off by so much along an axis, from a frame on or all the time."""
    position = tracks.position.clone()
    for axis, offset in offsets.items():
        position[0, :, 0, "xyz".index(axis)] += offset
    return replace(tracks, position=position)


def kicked(by: float, frame: int) -> torch.Tensor:
    return by * ((torch.arange(FRAMES) - frame).clamp(min=0) * STEP).double()


def test_energy_and_momentum_are_those_of_the_kick():
    tracks, forecast = told(falls())
    off = moved(tracks, x=kicked(0.5, 12))
    # m / 2 (1.5^2 - 1^2) of 2 kg; m dv.
    energy, momentum = check_energy(off, forecast), check_replayed_momentum(off, forecast)
    assert energy.value == pytest.approx(1.25) and energy.note.startswith("+1.25 J of")
    assert momentum.value == pytest.approx(1.0)
    drop = GRAVITY / 2 * (23 * STEP) ** 2
    whole = 2 / 2 * 1 + 2 * GRAVITY * drop + (1.0 - (3 - drop)) * GRAVITY  # above the lowest place
    assert energy.limit == pytest.approx(0.1 * whole, rel=1e-6)
    fastest = 2 * float(tracks.velocity[0, :, 0].norm(dim=-1).max())
    assert momentum.limit == pytest.approx(0.2 * fastest)
    seen = off.present.clone()
    seen[0, 15, 0] = False  # where it is not seen nothing is known, whatever the file says
    wild = moved(off, x=(torch.arange(FRAMES) == 15).double())
    assert check_energy(replace(wild, present=seen), forecast).value == pytest.approx(1.25)
    lost = moved(tracks, x=kicked(-0.5, 12))
    assert check_energy(lost, forecast).value == pytest.approx(0.75)
    assert check_energy(lost, forecast).note.startswith("-0.75 J of")
    high = check_energy(moved(tracks, z=torch.tensor(0.5)), forecast)
    assert high.value == pytest.approx(2 * GRAVITY * 0.5)
    # What the fitted frames do is no finding, and one wild frame is none.
    early = moved(tracks, x=kicked(0.5, 1) - kicked(0.5, 4))
    assert check_energy(early, forecast).value == pytest.approx(0, abs=1e-5)
    blinking = moved(tracks, x=0.2 * (torch.arange(FRAMES) == 23).double())
    assert check_replayed_momentum(blinking, forecast).value == pytest.approx(0, abs=1e-9)


def test_limits_of_energy_and_momentum_grow_with_the_trackers_noise():
    tracks, forecast = told(falls(), sigma=0.2)
    noise = 0.2 / (2**0.5 * STEP)  # m/s, of a central difference
    speed = tracks.velocity[0].norm(dim=-1)
    expected = 3 * float((MASS * speed * noise).square().sum(dim=-1).sqrt().mean())
    assert check_energy(tracks, forecast).limit == pytest.approx(expected)
    assert check_replayed_momentum(tracks, forecast).limit == pytest.approx(3 * 5**0.5 * noise)


def test_kicks_are_held_against_each_other_in_seconds():
    tracks, forecast = told(falls() + torch.stack([kicked(-3.0, 14), kicked(0, 0), kicked(0, 0)], dim=-1))
    late = moved(tracks, x=kicked(3.0, 14) - kicked(3.0, 17))
    check = check_contacts(late, forecast)
    assert check.value == pytest.approx(3 * STEP) and check.limit == pytest.approx(1.5 * STEP)
    assert check.note == "1 kicks in the track, 1 in the replay" and check.score < 0.5
    assert check_contacts(tracks, forecast).value == 0
    none = moved(tracks, x=kicked(3.0, 14))  # the track misses it altogether, or has one too many
    for one, other in ((none, forecast), (tracks, replace(forecast, trajectory=none))):
        assert check_contacts(one, other).value == pytest.approx(FRAMES * STEP)
    assert not check_contacts(none, replace(forecast, trajectory=none)).applies


def test_distances_from_the_replay_are_exact():
    tracks, forecast = told(falls(), sigma=0.05, spread=0.1)
    off = moved(tracks, x=torch.tensor(0.3))
    rmse = (0.3**2 / 2) ** 0.5  # one of two balls
    expected = (2 * (0.1**2 + 0.05**2)) ** 0.5  # noise in each of the two directions of the image
    error = check_error(off, forecast)
    assert error.value == pytest.approx((rmse**2 - expected**2) ** 0.5)
    assert error.limit == pytest.approx(2 * expected)
    assert check_error(off, told(falls())[1]).limit == pytest.approx(0.025)  # a quarter of a radius
    assert "FDE 0.15 m" in error.note and "ADE 0.15" in error.note
    misfit = check_misfit(off, forecast)
    assert misfit.value == pytest.approx(rmse) and misfit.limit == pytest.approx(0.01)
    later = moved(tracks, x=kicked(0.51, 12))  # a radius off in frame 17
    assert f"FDE {0.51 * 11 * STEP / 2:.3g} m" in check_error(later, forecast).note
    horizon = check_horizon(later, forecast)
    assert horizon.value == pytest.approx(11 / 18)
    assert horizon.note == "0.44 of 0.72 s within one radius"


def test_overlap_is_what_is_deeper_than_in_the_replay():
    tracks, forecast = told(torch.tensor([0.0, 0.0, 0.08]).double().expand(FRAMES, 3))
    balls = "<body><freejoint/><geom size='.1'/></body>" * 2
    scene = f"<mujoco><worldbody><geom type='plane' size='0 0 1'/>{balls}</worldbody></mujoco>"
    forecast = replace(forecast, scene=scene)
    assert check_overlap(tracks, forecast).value == pytest.approx(0, abs=1e-9)  # 0.02 m in both
    deeper = check_overlap(moved(tracks, z=torch.tensor(-0.03)), forecast)
    assert deeper.value == pytest.approx(0.3) and deeper.note == "0.05 m deep, 0.02 m in the replay"


def test_what_does_not_apply_says_why():
    clip, tracks = film("bounce", 0), tracks_of("bounce", 0)
    report, again = assess_replay(replace(tracks, metric=False), clip.scenes[0], clip="x")
    assert again is None and not any(check.applies for check in report.checks)
    assert "these tracks are pixels" in report["replay_error"].note
    seen = tracks.present.clone()
    seen[:, 6:] = False
    report = report_of(replace(tracks, present=seen), clip)
    assert "no object is seen after the fitted frames" in report["replay_error"].note
    assert "no three frames in a row" in report["replay_energy"].note
    collide = film("collide", 1)
    resting = track_objects(collide)
    parked = resting.position[:, :1].expand_as(resting.position).clone()
    assert resting.present.all()
    empty = collide.scenes[0].replace('gravity="0 0 -9.81"', 'gravity="0 0 0"')
    report = assess_replay(replace(resting, position=parked), empty, clip="x")[0]
    assert "nothing moves, here or in the replay" in report["replay_error"].note
    noisy = report_of(tracks, clip, sigma=0.5)
    assert "its first frames do not tell how it goes on" in noisy["replay_misfit"].note
    assert torch.isfinite(tracks.position).all()


@pytest.mark.skipif(not REAL.is_file(), reason="the real hand track is not here")
def test_a_real_toss_goes_on_as_it_began():
    toss = read_trk(REAL).tracks
    report, again = assess_replay(toss, clip="toss", floor=None)
    assert again is not None and report["replay_misfit"].score > 0.5
    assert report["replay_error"].score > 0.5 and report["replay_horizon"].value == 1
    assert "points touch nothing" in report["replay_overlap"].note
    order = torch.arange(toss.position.shape[1])
    order[6:] = order[6:].flip(0)
    nonsense = replace(toss, position=toss.position[:, order])
    assert assess_replay(nonsense, clip="toss", floor=None)[0]["replay_error"].score < 0.2


@pytest.mark.parametrize("fps", [100, 200])
def test_a_contact_that_comes_a_little_later_than_in_the_replay_takes_no_energy(fps):
    right = bounce(fps)
    forecast = replay(right, None, floor=0.0)
    forecast = replace(
        forecast, fitted=6, sigma=1e-3, trajectory=replace(forecast.trajectory, position=right.position)
    )
    late = bounce(fps, late=0.004)
    for check in (check_energy, check_replayed_momentum):
        assert check(late, forecast).score > 0.99
    # What comes back higher does have more.
    position = late.position.clone()
    position[0, len(position[0]) // 2 :, 0, 2] *= 1.3
    assert check_energy(replace(late, position=position), forecast).score < 0.5


def test_kicks_that_go_on_for_longer_than_a_contact_are_compared():
    """At 25 frames a second four kicked frames are no single contact: what has gained there has gained."""
    still = bounce(25)
    path = torch.zeros_like(still.position)
    path[..., 2] = 1.0
    path[0, :, 0, 0] = 0.5 * torch.arange(path.shape[1]) / 25
    kicked = path.clone()
    kicked[0, 12:16, 0, 2] += torch.tensor([0.1, 0.3, 0.3, 0.1])
    forecast = replay(still, None, floor=0.0)
    forecast = replace(
        forecast, fitted=2, sigma=1e-3, trajectory=replace(forecast.trajectory, position=kicked)
    )
    more = kicked.clone()
    more[0, 12:16, 0, 2] += torch.tensor([0.2, 0.6, 0.6, 0.2])
    assert check_energy(replace(still, position=kicked), forecast).score == 1
    assert check_energy(replace(still, position=more), forecast).score < 0.5
