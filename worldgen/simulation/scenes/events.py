"""What happens in a scene and when, read off its true states and contacts: the bones of a description.

Everything here is geometry and kinematics of a `Trajectory`, so it holds for every family of scenes, for any
shape and any number of bodies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from worldgen.types import Camera, Trajectory

IMPACT = 0.3
"""m/s at which two surfaces must approach for their touch to count as an event, not as resting or chatter."""

_MOVING = 0.1  # m/s
_RESTING, _REST_FRAMES = 0.06, 3  # m/s, and for how many frames up to the end
_SETTLED = 0.02  # seconds: what touches by then was touching at the start
_MERGE = 0.1  # seconds between touches of one pair that count as one
_LATE = 0.15  # seconds after which a body that starts to move was at rest at first
_TILT = math.radians(60)


_Blow = tuple[float, int, int, np.ndarray]  # time, the two bodies, the normal from the first to the second


class EventKind(Enum):
    """What an event is. Each body has exactly one of `BEGINNINGS`."""

    FALLS = auto()
    FLIES = auto()
    SLIDES = auto()
    ROLLS = auto()
    SPINS = auto()
    TUMBLES = auto()
    STARTS = auto()
    RESTS = auto()
    SETS_OFF = auto()
    HITS = auto()
    COLLIDES = auto()
    SWINGS_BACK = auto()
    TOPPLES = auto()
    PASSES_BEHIND = auto()
    HIDES = auto()
    REAPPEARS = auto()
    LEAVES = auto()
    STOPS = auto()


BEGINNINGS = (
    EventKind.FALLS, EventKind.FLIES, EventKind.SLIDES, EventKind.ROLLS,
    EventKind.SPINS, EventKind.TUMBLES, EventKind.STARTS, EventKind.RESTS,
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """One thing that a body does."""

    time: float
    """Seconds since the first frame."""
    kind: EventKind
    body: int
    other: int = -1
    """The other body; -1 is the fixed world."""
    way: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Velocity in m/s as the camera sees it: right, up, toward the camera. After an impact, from there on."""
    way_of_other: tuple[float, float, float] = (0.0, 0.0, 0.0)
    normal: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Of the surface that is hit, out of it, world frame."""
    rebound: float | None = None
    """Height after a bounce over height before it; None where the clip does not show it."""


@dataclass(frozen=True)
class CameraView:
    """The N bodies as the camera sees them over T frames; lengths over the half height of the image."""

    right: np.ndarray
    """(T N), -1 to 1 inside a square image."""
    up: np.ndarray
    """(T N), -1 to 1 inside the image."""
    depth: np.ndarray
    """(T N) metres in front of the camera."""
    radius: np.ndarray
    """(T N) of the disc as large as the body."""
    axes: np.ndarray
    """(T 3 3) columns: right, up and toward the camera, world frame."""

    @property
    def inside(self) -> np.ndarray:
        """(T N) whether a body's center is in the picture."""
        return (np.abs(self.right) <= 1) & (np.abs(self.up) <= 1) & (self.depth > 0)


def view_bodies(trajectory: Trajectory, camera: Camera) -> CameraView:
    """The bodies of one clip (B = 1) in the picture; the camera may move from frame to frame."""
    position = trajectory.position[0].double().numpy()  # (T, N, 3)
    frames = len(position)
    eyes = np.broadcast_to(camera.position.double().numpy().reshape(-1, 3), (frames, 3))
    axes = np.broadcast_to(camera.rotation.double().numpy().reshape(-1, 3, 3), (frames, 3, 3))
    local = np.einsum("tni,tij->tnj", position - eyes[:, None], axes)
    depth = -local[..., 2]
    scale = 1 / (np.maximum(depth, 1e-6) * math.tan(math.radians(float(camera.fovy[0])) / 2))
    return CameraView(local[..., 0] * scale, local[..., 1] * scale, depth, size_of(trajectory) * scale, axes)


def size_of(trajectory: Trajectory) -> np.ndarray:
    """Metres (N): the geometric mean of each body's half sizes."""
    return np.cbrt(trajectory.extent[0].double().numpy().prod(axis=-1))


def find_events(
    trajectory: Trajectory, view: CameraView, gravity: float, visible: np.ndarray | None = None
) -> list[Event]:
    """Every event of one clip: one beginning per body, then the others in order of time.

    Args:
        trajectory: B = 1; impacts are found where it has contacts.
        view: The same bodies as the camera sees them.
        gravity: m/s^2, downward.
        visible: (T N) whether any pixel of a body can be seen; hiding is told where it is given.
    """
    motion = _Motion(trajectory, view, gravity)
    impacts = motion.impacts()
    count = motion.position.shape[1]
    beginnings = [motion.beginning(body, impacts) for body in range(count)]
    later = list(impacts)
    for body in range(count):
        later += [*motion.turns(body, impacts), *motion.topples(body), *motion.stops(body)]
        if beginnings[body].kind is EventKind.RESTS:
            later += motion.sets_off(body, impacts)
        later += motion.crossings(body, visible)
    return beginnings + sorted(later, key=lambda event: (event.time, event.kind.value, event.body))


class _Motion:
    """Positions, velocities and contacts of one clip as arrays, and the questions asked of them."""

    def __init__(self, trajectory: Trajectory, view: CameraView, gravity: float) -> None:
        self.position, self.velocity, self.spin, self.rotation = (
            value[0].double().numpy()
            for value in (trajectory.position, trajectory.velocity, trajectory.spin, trajectory.rotation)
        )
        self.extent = trajectory.extent[0].double().numpy()
        self.dt, self.view = float(trajectory.dt[0]), view
        self.fall = np.array([0.0, 0.0, -gravity])
        self.contacts = None if trajectory.contacts is None else trajectory.contacts[0]
        self.frames = len(self.position)
        self.speed = np.linalg.norm(self.velocity, axis=-1)  # (T, N)

    def impacts(self) -> list[Event]:
        """Touches that are blows, in order of time."""
        if self.contacts is None:
            return []
        times = self.contacts.time.double().tolist()
        points, normals = self.contacts.point.double().numpy(), self.contacts.normal.double().numpy()
        blows: list[_Blow] = []
        last: dict[tuple[int, int], float] = {}
        for time, pair, point, normal in zip(
            times, self.contacts.bodies.tolist(), points, normals, strict=True
        ):
            first, second = pair
            since = time - last.get((first, second), -1.0)
            last[first, second] = time
            if time <= _SETTLED or since < _MERGE or max(pair) < 0:
                continue
            approach = (self._surface(first, time, point) - self._surface(second, time, point)) @ normal
            if approach >= IMPACT:
                blows.append((time, first, second, normal))
        return [self._impact(blow, blows) for blow in blows]

    def beginning(self, body: int, impacts: list[Event]) -> Event:
        """How a body is in the first frames."""
        start, way = self.velocity[0, body], self._way(body, 0)
        moving = self.speed[0, body] > _MOVING
        gained = (self.velocity[min(1, self.frames - 1), body] - start) / self.dt
        weight = np.linalg.norm(self.fall)
        free = np.linalg.norm(gained - self.fall) < max(0.2 * weight, 0.5)
        turning = np.linalg.norm(self.spin[0, body])
        if moving:
            rolling = abs(turning * self.extent[body].max() - self.speed[0, body]) < 0.3 * self.speed[0, body]
            if free and turning > 1.0 and np.ptp(self.extent[body]) > 0.01:  # a ball's spin cannot be seen
                return Event(0.0, EventKind.TUMBLES, body, way=way)
            return Event(
                0.0,
                EventKind.FLIES if free else EventKind.ROLLS if rolling else EventKind.SLIDES,
                body,
                way=way,
            )
        if free and turning > 1.0:
            return Event(0.0, EventKind.SPINS, body)
        if free and weight > 0.5:
            return Event(0.0, EventKind.FALLS, body)
        started = self._start(body, impacts)
        if started is None or started > _LATE / self.dt:
            return Event(0.0, EventKind.RESTS, body)
        return Event(started * self.dt, EventKind.STARTS, body, way=self._soon(body, started))

    def sets_off(self, body: int, impacts: list[Event]) -> list[Event]:
        """When a body that was at rest starts to move though no blow is told."""
        started = self._start(body, impacts)
        if started is None:
            return []
        return [Event(started * self.dt, EventKind.SETS_OFF, body, way=self._soon(body, started))]

    def turns(self, body: int, impacts: list[Event]) -> list[Event]:
        """Moments at which a body reverses its sideways motion though nothing strikes it."""
        across = np.einsum("ti,ti->t", self.velocity[:, body], self.view.axes[:, :, 0])
        found, side = [], 0.0
        for frame, speed in enumerate(across.tolist()):
            if abs(speed) < 2 * _MOVING:
                continue
            if side * speed < 0:
                window = (frame - 4) * self.dt, frame * self.dt
                if not any(window[0] <= e.time <= window[1] and body in (e.body, e.other) for e in impacts):
                    found.append(
                        Event(frame * self.dt, EventKind.SWINGS_BACK, body, way=self._way(body, frame))
                    )
            side = speed
        return found

    def topples(self, body: int) -> list[Event]:
        """When a long body that did not spin at first has tilted by sixty degrees."""
        extent = self.extent[body]
        if extent.max() < 1.05 * extent.min() or np.linalg.norm(self.spin[0, body]) > 1.0:
            return []
        longest = int(extent.argmax())
        w, x, y, z = np.moveaxis(self.rotation[:, body], -1, 0)
        rows = (
            (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
            (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
            (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
        )
        axis = np.stack(rows[longest], axis=-1)  # (T, 3), the long axis in the world
        if abs(axis[0, 2]) < 0.8:  # it does not stand
            return []
        tilted = np.flatnonzero(np.abs(axis @ axis[0]) < math.cos(_TILT))
        return [Event(float(tilted[0] * self.dt), EventKind.TOPPLES, body)] if len(tilted) else []

    def stops(self, body: int) -> list[Event]:
        """When a body that moved comes to rest until the end."""
        moving = np.flatnonzero(self.speed[:, body] > _RESTING)
        if not len(moving) or self.speed[:, body].max() < 2 * _MOVING:
            return []
        first = int(moving[-1]) + 1
        if self.frames - first < _REST_FRAMES:
            return []
        return [Event(first * self.dt, EventKind.STOPS, body)]

    def crossings(self, body: int, visible: np.ndarray | None) -> list[Event]:
        """Leaving the picture, passing behind another body, and going out of sight."""
        view, found = self.view, []
        inside = view.inside[:, body]
        for frame in np.flatnonzero(inside[:-1] & ~inside[1:]):
            found.append(
                Event((frame + 1) * self.dt, EventKind.LEAVES, body, way=self._way(body, int(frame)))
            )
        for other in range(self.position.shape[1]):
            apart = np.hypot(view.right[:, body] - view.right[:, other], view.up[:, body] - view.up[:, other])
            overlaps = apart < 0.5 * (view.radius[:, body] + view.radius[:, other])
            gap = 0.5 * (self.extent[body].max() + self.extent[other].max())
            behind = overlaps & (view.depth[:, body] > view.depth[:, other] + gap) & inside
            frames = np.flatnonzero(behind)
            if other != body and len(frames) and not behind[0]:
                found.append(Event(float(frames[0] * self.dt), EventKind.PASSES_BEHIND, body, other))
        if visible is not None:
            seen = visible[:, body]
            for frame in np.flatnonzero(seen[1:] != seen[:-1]) + 1:
                if inside[frame] and inside[frame - 1]:
                    kind = EventKind.REAPPEARS if seen[frame] else EventKind.HIDES
                    found.append(Event(float(frame * self.dt), kind, body))
        return found

    def _impact(self, blow: _Blow, blows: list[_Blow]) -> Event:
        time, first, second, normal = blow
        frame = self._frame_before(time)
        after = min(frame + 2, self.frames - 1)
        if min(first, second) >= 0:
            speeds = self.speed[frame]
            body, other = (first, second) if speeds[first] >= speeds[second] else (second, first)
            ways = self._way(body, after), self._way(other, after)
            return Event(time, EventKind.COLLIDES, body, other, way=ways[0], way_of_other=ways[1])
        body, outward = (second, normal) if first < 0 else (first, -normal)
        numbers = (float(outward[0]), float(outward[1]), float(outward[2]))
        rebound = self._rebound(body, time, blows) if outward[2] > 0.7 else None
        return Event(time, EventKind.HITS, body, way=self._way(body, after), normal=numbers, rebound=rebound)

    def _rebound(self, body: int, time: float, blows: list[_Blow]) -> float | None:
        """Height above the point of impact that is reached after it, over the height before it."""
        own = [other for other, first, second, _ in blows if body in (first, second)]
        begin = max((other for other in own if other < time), default=0.0)
        end = min((other for other in own if other > time), default=math.inf)
        frame, height = self._frame_before(time), self.position[:, body, 2]
        late = time - frame * self.dt
        ground = height[frame] + self.velocity[frame, body, 2] * late + self.fall[2] * late**2 / 2
        stamps = np.arange(self.frames) * self.dt
        before = height[(stamps >= begin) & (stamps <= time)]
        inside = (stamps > time) & (stamps < end)
        after = height[inside]
        if len(after) < 2 or not len(before) or before.max() - ground < 0.02:
            return None
        if end == math.inf and after.argmax() == len(after) - 1 and self.velocity[-1, body, 2] > 0:
            return None  # still rising
        return max(0.0, float((after.max() - ground) / (before.max() - ground)))

    def _surface(self, body: int, time: float, point: np.ndarray) -> np.ndarray:
        """Velocity (3) of a body's surface at a point, just before a time."""
        if body < 0:
            return np.zeros(3)
        frame = self._frame_before(time)
        arm = point - self.position[frame, body]
        velocity = self.velocity[frame, body] + np.cross(self.spin[frame, body], arm)
        if frame + 1 < self.frames and self._falls_freely(body, frame):
            velocity = velocity + self.fall * (time - frame * self.dt)
        return velocity

    def _falls_freely(self, body: int, frame: int) -> bool:
        """Whether the frame before fits a free fall: only then does a body gather speed up to a blow."""
        if frame == 0:
            return True
        gained = (self.velocity[frame, body] - self.velocity[frame - 1, body]) / self.dt
        return bool(np.linalg.norm(gained - self.fall) < 0.2 * np.linalg.norm(self.fall) + 0.5)

    def _frame_before(self, time: float) -> int:
        return min(int(time / self.dt - 1e-4), self.frames - 1)

    def _start(self, body: int, impacts: list[Event]) -> int | None:
        """The first frame in which a body moves; None for never, or when a blow came first."""
        moved = np.flatnonzero(self.speed[:, body] > _MOVING)
        pushes = [event.time for event in impacts if event.other >= 0 and body in (event.body, event.other)]
        if not len(moved) or moved[0] * self.dt > min(pushes, default=math.inf):
            return None
        return int(moved[0])

    def _soon(self, body: int, frame: int) -> tuple[float, float, float]:
        """Its way two frames on, when the direction shows."""
        return self._way(body, min(frame + 2, self.frames - 1))

    def _way(self, body: int, frame: int) -> tuple[float, float, float]:
        right, up, toward = (self.view.axes[frame].T @ self.velocity[frame, body]).tolist()
        return right, up, toward
