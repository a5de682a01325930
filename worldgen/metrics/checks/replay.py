"""Checks by replay: MuJoCo starts as a track does, and what it then does is held against the rest of it.

The checks of `assess` know one law at a time; a replay knows all of a rigid world's at
once, contacts included, and needs to know that world: its shapes, masses and materials. Where these are
unknown it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable, tolerance
from worldgen.metrics.intervals import rms_interval
from worldgen.metrics.motions.flights import find_kinks
from worldgen.physics.laws import central_velocity, energy, momentum, speed_momentum
from worldgen.simulation.replay.overlap import corners_turn, overlap
from worldgen.simulation.replay.replay import FIRST, NotReplayable, Replay, replay
from worldgen.types import GRAVITY, Check, PhysicsReport, Trajectory

_ERROR = blank_states(
    "replay_error",
    "m",
    1.0,
    ("which law was broken", "vanishing", "copies", "violations before the first state"),
)
_HORIZON = blank_states(
    "replay_horizon", "of the time", 0.9, ("which law was broken", "vanishing", "copies"), "above"
)
_MISFIT = blank_states(
    "replay_misfit",
    "m",
    1.0,
    ("another start, restitution or mass that explains the path", "vanishing", "copies"),
)
_CONTACTS = blank_states(
    "replay_contacts",
    "s",
    1.0,
    ("what happens without a contact", "energy gained at a bounce", "vanishing", "copies"),
)
_OVERLAP = blank_states(
    "replay_overlap", "of the smaller radius", 0.1, ("every violation by bodies that keep apart", "vanishing")
)
_ENERGY = blank_states("replay_energy", "J", 1.0, ("teleport between frames", "vanishing", "copies", "spin"))
_MOMENTUM = blank_states(
    "replay_momentum", "kg m/s", 1.0, ("what keeps each velocity", "vanishing", "copies")
)
_LASTING = 3
"""Frames with a kick on end, from which on a contact lasts for several: a bounce between two has two."""
_LONGEST = 0.06
"""Seconds that one contact lasts at most: what kicks for longer bounces again and again."""
_BLANKS = (_ERROR, _HORIZON, _MISFIT, _CONTACTS, _OVERLAP, _ENERGY, _MOMENTUM)


@dataclass(frozen=True)
class OwnError:
    """What a tracker makes of true renders: their replay error, in metres."""

    rms: float
    low: float | None
    """Ends of the 95 % interval over clips; None where so few cannot say."""
    high: float | None
    clips: int


def own_error(errors: Sequence[float]) -> OwnError:
    """The tracker's own error, from the replay errors (m) of true renders.

    Raises:
        ValueError: There are none.
    """
    if not len(errors):
        raise ValueError("own_error needs the replay error of one true render or more; got none.")
    low, high = rms_interval(errors)
    return OwnError(_root_mean_square(np.asarray(errors)), low, high, len(errors))


def assess_replay(
    tracks: Trajectory,
    scene: str | None = None,
    *,
    clip: str,
    first: int = FIRST,
    floor: float | None = 0.0,
    gravity: float = GRAVITY,
    own: OwnError | None = None,
    sigma: float | None = None,
    forecast: Replay | None = None,
) -> tuple[PhysicsReport, Replay | None]:
    """Every check by replay of one clip's tracks, and the replay: None where MuJoCo cannot represent it.

    Args:
        tracks: B = 1.
        scene: The clip's MJCF, where it is known; see `simulation.replay.replay.replay`.
        clip: Name of the clip in the report.
        first: Frames that the first state is fitted to.
        floor: Height of the floor in metres where there is no scene; None for none.
        gravity: m/s^2 where there is no scene.
        own: Error that the tracker makes on true renders, which is subtracted; what the noise of the fitted
            frames explains when None.
        sigma: Noise of one tracked coordinate in metres.
        forecast: The replay, where it was made already.
    """
    try:
        if forecast is None:
            forecast = replay(tracks, scene, first=first, floor=floor, gravity=gravity, sigma=sigma)
    except NotReplayable as error:
        return PhysicsReport(
            clip, "replay", tuple(not_applicable(check, str(error)) for check in _BLANKS)
        ), None
    checks = (
        check_error(tracks, forecast, own),
        check_horizon(tracks, forecast),
        check_misfit(tracks, forecast),
        check_contacts(tracks, forecast),
        check_overlap(tracks, forecast),
        check_energy(tracks, forecast),
        check_replayed_momentum(tracks, forecast),
    )
    expected = _expected(tracks, forecast)
    if not _moves(tracks, forecast):
        checks = tuple(not_applicable(check, "nothing moves, here or in the replay") for check in checks)
    elif expected > _radius(forecast):
        why = f"its first frames do not tell how it goes on: their noise moves the replay by {expected:.2g} m"
        checks = tuple(not_applicable(check, why) for check in checks)
    return PhysicsReport(clip, "replay", checks), forecast


def replay_rmse(tracks: Trajectory, forecast: Replay) -> float:
    """Root mean square distance (m) of track and replay after the fitted frames; NaN if nothing is seen."""
    distance = _distance(tracks, forecast)[forecast.fitted :]
    return float(distance[distance.isfinite()].square().mean().sqrt())


def check_error(tracks: Trajectory, forecast: Replay, own: OwnError | None = None) -> Check:
    """A8: root mean square distance from the replay after the fitted frames, less the tracker's own.

    Squares are subtracted. The limit is a quarter of a radius, and no less than twice what noise explains.
    """
    rmse = replay_rmse(tracks, forecast)
    if not np.isfinite(rmse):
        return not_applicable(_ERROR, "no object is seen after the fitted frames")
    distance = _distance(tracks, forecast)[forecast.fitted :]
    expected = _expected(tracks, forecast)
    own = OwnError(expected, expected, expected, 0) if own is None else own
    value = max(rmse**2 - own.rms**2, 0.0) ** 0.5
    within = f"its interval is of too few of these: {own.clips}"
    if own.low is not None and own.high is not None:
        low, high = (max(rmse**2 - part**2, 0.0) ** 0.5 for part in (own.high, own.low))
        within = f"{low:.3g} to {high:.3g} m"
    last = distance[-1][distance[-1].isfinite()]
    final = f"{float(last.mean()):.3g}" if last.numel() else "-"
    length = float(_path_length(forecast))
    source = f"tracker's on {own.clips} true renders" if own.clips else "noise of the fitted frames"
    note = (
        f"{within}, less {own.rms:.3g} m of the {source}; ADE "
        f"{float(distance[distance.isfinite()].mean()):.3g}, FDE {final} m, path {length:.3g} m"
    )
    return measured(replace(_ERROR, limit=max(_radius(forecast) / 4, 2 * expected)), value, note)


def check_horizon(tracks: Trajectory, forecast: Replay) -> Check:
    """A8: share of the time after the fitted frames until an object is a radius from its replay."""
    distance = _distance(tracks, forecast)[forecast.fitted :]
    if not bool(distance.isfinite().any()):
        return not_applicable(_HORIZON, "no object is seen after the fitted frames")
    radius = forecast.trajectory.extent[0, :, 2]
    lost = (distance > torch.where(radius > 0, radius, _radius(forecast))).any(dim=1).nonzero()[:, 0]
    kept = int(lost[0]) if len(lost) else len(distance)
    value, dt = kept / len(distance), float(tracks.dt[0])
    note = f"{kept * dt:.3g} of {len(distance) * dt:.3g} s within one radius"
    return measured(_HORIZON, value, note, tolerance(1 - value, 1 - _HORIZON.limit))


def check_misfit(tracks: Trajectory, forecast: Replay) -> Check:
    """Root mean square distance from the nearest of all MuJoCo worlds, whatever its start (all frames)."""
    nearest = replace(forecast.trajectory, position=forecast.nearest[None])
    distance = _distance(tracks, replace(forecast, trajectory=nearest))
    value = float(distance[distance.isfinite()].square().mean().sqrt())
    note = f"tracker noise {forecast.sigma * 2**0.5:.2g} m"
    return measured(replace(_MISFIT, limit=_radius(forecast) / 10), value, note)


def check_contacts(tracks: Trajectory, forecast: Replay) -> Check:
    """Largest time between a kick that the track or the replay shows and the nearest one of the other."""
    worst, counted, dt = 0.0, [0, 0], float(tracks.dt[0])
    for number in _replayed(forecast):
        seen = tracks.present[0, :, number].numpy()
        paths = [one.position[0, :, number].double().numpy() for one in (tracks, forecast.trajectory)]
        for place, (one, other) in enumerate((paths, paths[::-1])):
            # What is clear in one may be faint in the other.
            clear = np.flatnonzero(find_kinks(one, seen, 2 * forecast.sigma))
            faint = np.flatnonzero(find_kinks(other, seen, forecast.sigma / 2))
            counted[place] += len(_events(clear))
            for frame in clear:
                worst = max(worst, float(np.abs(faint - frame).min()) if len(faint) else float("inf"))
    if not sum(counted):
        return not_applicable(_CONTACTS, "neither the track nor the replay shows a kick")
    length = tracks.position.shape[1]
    note = f"{counted[0]} kicks in the track, {counted[1]} in the replay"
    return measured(replace(_CONTACTS, limit=1.5 * dt), min(worst, length) * dt, note)


def check_overlap(tracks: Trajectory, forecast: Replay) -> Check:
    """A6: how much deeper bodies enter each other or the world than they do in the replay.

    Soft contacts give way a little in MuJoCo too: its own depth is subtracted. Does not apply where what is
    no ball turns: a track does not tell how far it has.
    """
    radius = float(forecast.trajectory.extent[0, _replayed(forecast)].min())
    if radius <= 0:
        return not_applicable(_OVERLAP, "points touch nothing")
    if angle := corners_turn(forecast.trajectory, forecast.scene):
        return not_applicable(
            _OVERLAP, f"its bodies turn, by {angle:.2g} rad in the replay, and no track tells it"
        )
    turned = replace(
        forecast.trajectory,
        position=tracks.position.double(),
        present=tracks.present & forecast.trajectory.present,
    )
    here, there = overlap(turned, forecast.scene), overlap(forecast.trajectory, forecast.scene)
    value = max(float(here.max() - there.max()), 0.0) / radius
    note = f"{float(here.max()):.3g} m deep, {float(there.max()):.3g} m in the replay"
    return measured(_OVERLAP, value, note)


def check_energy(tracks: Trajectory, forecast: Replay) -> Check:
    """A4: largest difference of mechanical energy from the replay after the fitted frames.

    Both from central differences of positions, with the replay's masses, and as a median of three frames, so
    that a bounce that falls on a neighboring frame is no energy. The limit is a tenth of the replay's energy
    above its lowest place, and no less than three deviations of tracker noise.
    """
    energies, whole = _audit(tracks, forecast)
    if energies is None:
        return not_applicable(_ENERGY, "no three frames in a row show every object after the fitted ones")
    (here, _), (there, _) = energies
    difference = _median_of_three((here - there)[whole])
    worst = float(difference[difference.abs().argmax()])
    mass, speed = _masses(forecast), forecast.trajectory.velocity[0].norm(dim=-1)
    dt = float(tracks.dt[0])
    noise = float((mass * speed * forecast.sigma / (2**0.5 * dt)).square().sum(dim=-1).sqrt().mean())
    limit = max(0.1 * float(there.max()), 3 * noise, 1e-9)
    note = f"{worst:+.3g} J of {float(there.max()):.3g} J, noise {noise:.2g} J"
    return measured(replace(_ENERGY, limit=limit), abs(worst), note)


def check_replayed_momentum(tracks: Trajectory, forecast: Replay) -> Check:
    """A5: largest difference of total momentum from the replay after the fitted frames, medians of three."""
    energies, whole = _audit(tracks, forecast)
    if energies is None:
        return not_applicable(_MOMENTUM, "no three frames in a row show every object after the fitted ones")
    (_, here), (_, there) = energies
    difference = torch.stack([_median_of_three(part) for part in (here - there)[whole].unbind(dim=1)], dim=1)
    value = float(difference.norm(dim=-1).max())
    mass, dt = _masses(forecast), float(tracks.dt[0])
    noise = float((mass.square().sum()).sqrt()) * forecast.sigma / (2**0.5 * dt)
    scale = float(speed_momentum(forecast.trajectory.velocity[0], mass).max())
    limit = max(0.2 * scale, 3 * noise, 1e-9)
    return measured(replace(_MOMENTUM, limit=limit), value, f"of {scale:.3g} kg m/s, noise {noise:.2g}")


def _distance(tracks: Trajectory, forecast: Replay) -> Float[Tensor, "T N"]:
    """Metres; NaN where the object is not seen or not replayed."""
    both = tracks.present[0] & forecast.trajectory.present[0]
    distance = (tracks.position[0].double() - forecast.trajectory.position[0]).norm(dim=-1)
    return torch.where(both, distance, torch.nan)


def _expected(tracks: Trajectory, forecast: Replay) -> float:
    """Root mean square distance after the fitted frames that tracker noise alone explains."""
    both = (tracks.present[0] & forecast.trajectory.present[0])[forecast.fitted :]
    square = 2 * (forecast.spread[forecast.fitted :].square() + forecast.sigma**2)
    return float(square[both].mean().sqrt())


def _audit(
    tracks: Trajectory, forecast: Replay
) -> tuple[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None, Bool[Tensor, " T-2"]]:
    """Energy (T-2) and momentum (T-2 3) of track and replay, and the frames that show them."""
    shown = _replayed(forecast)
    seen = tracks.present[0][:, shown].all(dim=1)
    whole = seen[2:] & seen[1:-1] & seen[:-2]
    whole &= torch.arange(1, len(seen) - 1) >= forecast.fitted
    whole &= ~_lasting_contacts(forecast)[1:-1]
    if int(whole.sum()) < 3:
        return None, whole
    level = float(forecast.trajectory.position[0, :, shown, 2].min())
    found = []
    for one in (tracks, forecast.trajectory):
        # Spin is left out: a track does not tell it.
        still = torch.zeros_like(one.position, dtype=torch.float64)
        exact = replace(
            forecast.trajectory,
            position=one.position.double(),
            dt=one.dt.double(),
            velocity=still,
            spin=still,
        )
        velocity = torch.nn.functional.pad(central_velocity(exact), (0, 0, 0, 0, 1, 1))
        exact = replace(exact, velocity=velocity)
        total = energy(exact, forecast.gravity, level)[0, 1:-1, shown].sum(dim=-1)
        found.append((total, momentum(exact.velocity[0, 1:-1, shown], exact.mass[0, shown])))
    return (found[0], found[1]), whole


def _lasting_contacts(forecast: Replay) -> Bool[Tensor, " T"]:
    """Frames beside and within contacts of the replay that last for several: what is in them is no motion."""
    near = np.zeros(forecast.trajectory.position.shape[1], dtype=bool)
    dt = float(forecast.trajectory.dt[0])
    for number in _replayed(forecast):
        path = forecast.trajectory.position[0, :, number].double().numpy()
        kinked = find_kinks(path, np.ones(len(path), dtype=bool))
        for first in _events(np.flatnonzero(kinked)):
            last = first + int(np.argmin(np.append(kinked[first:], False)))
            if last - first >= _LASTING and (last - first) * dt <= _LONGEST:
                near[max(first - 1, 0) : last + 1] = True
    return torch.from_numpy(near)


def _moves(tracks: Trajectory, forecast: Replay) -> bool:
    for number in _replayed(forecast):
        seen = tracks.present[0, :, number]
        for one in (tracks, forecast.trajectory):
            path = one.position[0, seen, number].double()
            reach = path.amax(dim=0) - path.amin(dim=0)
            if float(reach.norm()) > float(forecast.trajectory.extent[0, number, 2]):
                return True
    return False


def _median_of_three(values: Float[Tensor, " K"]) -> Float[Tensor, " K-2"]:
    return values.unfold(0, 3, 1).median(dim=-1).values if len(values) > 2 else values


def _events(frames: np.ndarray) -> list[int]:
    """First frames of runs of kinked frames."""
    return frames[~np.isin(frames - 1, frames)].tolist()


def _replayed(forecast: Replay) -> list[int]:
    return forecast.trajectory.present[0, 0].nonzero()[:, 0].tolist()


def _masses(forecast: Replay) -> Float[Tensor, " N"]:
    return forecast.trajectory.mass[0]


def _radius(forecast: Replay) -> float:
    """Mean radius; of points a fifth of what they travel."""
    shown = _replayed(forecast)
    radius = float(forecast.trajectory.extent[0, shown, 2].mean())
    path = forecast.trajectory.position[0][:, shown]
    return radius or 0.2 * float((path.amax(dim=0) - path.amin(dim=0)).norm(dim=-1).mean())


def _path_length(forecast: Replay) -> Tensor:
    path = forecast.trajectory.position[0][:, _replayed(forecast)]
    return path.diff(dim=0).norm(dim=-1).sum(dim=0).max()


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
