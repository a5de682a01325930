"""The sound of bodies that hit each other: each impact rings the bodies that meet in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from worldgen.data.sources import ClipSource
from worldgen.data.waves import RATE
from worldgen.types import Clip, Contacts, Trajectory

TOUCH = 0.05
"""m/s of approach below which a touch is no impact: what rests, rolls or slides is not heard."""

LOUDNESS = 0.01
"""Amplitude of the sum of all modes for an impulse of 1 N s."""

_SHEAR = 1e8
"""Shear modulus in Pa, that of balsa wood: the bodies are as light."""
_LOSS = 0.01
"""Loss factor of the material; that of wood is 0.01 to 0.02."""
_MODES = (2.640, 3.424, 3.916, 4.440, 5.009)
"""``k a`` of the spheroidal vibrations of an elastic ball of radius a that a blow starts: the lowest of
order 2, the second of order 1, the lowest of orders 3, 0 and 4 (Lamb 1882, Poisson's ratio 1/4)."""


@dataclass(frozen=True)
class Impact:
    """One blow of one clip."""

    time: float
    """Seconds since the first frame."""
    bodies: tuple[int, int]
    """Object indices; -1 is the fixed world, which does not ring."""
    impulse: float
    """N s."""


def impact_sound(trajectory: Trajectory, seconds: float, slow: float = 1.0) -> Float[Tensor, "B S"]:
    """What a microphone hears of the impacts of each clip: silence where there are none.

    Modal synthesis (van den Doel and Pai 1998, "The sounds of physical shapes", Presence 7, eq. 5): a body
    that receives an impulse J at time t0 rings as

    ``s(t) = c J sum_k (1 / k) exp(-pi loss f_k (t - t0)) sin(2 pi f_k (t - t0))``.

    Its frequencies are those of a free elastic ball, ``f_k = x_k sqrt(G / density) / (2 pi a)``, with the
    radius ``a`` of the ball that has the body's volume and the density that follows from its mass: large and
    heavy bodies ring low. Damping is in proportion to frequency, as internal friction is (Wildes and Richards
    1988). Modes above 8 kHz are left out. A clip that would leave [-1, 1] is turned down as a whole.

    Impulses are those of the contacts. What a contact of bodies that stay together gathers after the blow
    does not sound: see `find_impacts`. Friction does not sound either.

    Args:
        trajectory: In metres, with contacts.
        seconds: Length of the sound; the first frame is at its first sample.
        slow: Times slower than life that the clip is shown; blows come later, and ring as they do.

    Returns:
        S = 16000 ``seconds`` samples in [-1, 1].

    Raises:
        ValueError: No contacts, lengths in pixels, or a length that is not positive.
    """
    if not (0 < seconds < float("inf")):
        raise ValueError(f"A sound must last a positive number of seconds; got {seconds}.")
    if trajectory.contacts is None or not trajectory.metric:
        raise ValueError(
            "Impacts are heard from contacts in metres and N s; this trajectory has "
            + ("none. Use the truth of a simulated clip." if trajectory.metric else "lengths in pixels.")
        )
    sound = torch.zeros(len(trajectory.dt), round(seconds * RATE), dtype=torch.float64)
    for clip, row in enumerate(sound):
        for impact in find_impacts(trajectory, clip):
            for body in impact.bodies:
                if body >= 0:
                    frequencies = mode_frequencies(
                        float(trajectory.mass[clip, body]), trajectory.extent[clip, body].tolist()
                    )
                    _strike(row, replace(impact, time=slow * impact.time), frequencies)
    peak = sound.abs().amax(dim=1, keepdim=True)
    return (sound / peak.clamp(min=1.0)).to(torch.float32).clamp(-1, 1)


def mode_frequencies(mass: float, extent: list[float]) -> tuple[float, ...]:
    """Hz of the modes of a body, those that 16 kHz can carry.

    Args:
        mass: kg.
        extent: Half sizes in metres.
    """
    radius = math.prod(extent) ** (1 / 3)
    if radius <= 0 or mass <= 0:
        return ()
    speed = math.sqrt(_SHEAR / (mass / (4 / 3 * math.pi * radius**3)))  # of shear waves, m/s
    return tuple(k * speed / (2 * math.pi * radius) for k in _MODES if k * speed < math.pi * radius * RATE)


def find_impacts(trajectory: Trajectory, clip: int) -> list[Impact]:
    """The contacts of one clip that begin with a blow.

    A contact's impulse is gathered from its first step to its last, so that of a body which stays where it
    hit holds its weight too. No blow between passive bodies passes on more than ``2 m v``, with the reduced
    mass m of the two and the speed v at which their surfaces approach; this much of the impulse is the
    blow's. Speeds just before it are the last frame's, carried on as they changed before, with all blows
    since that frame. Whatever approaches with less than `TOUCH` rests, rolls or slides.
    """
    assert trajectory.contacts is not None
    contacts = trajectory.contacts[clip]
    return list(_blows(_Motion(trajectory, clip, contacts), contacts))


class _Motion:
    """Velocities of the bodies of a clip just before a time: a frame's, and what happened since."""

    def __init__(self, trajectory: Trajectory, clip: int, contacts: Contacts) -> None:
        self.dt = float(trajectory.dt[clip])
        self.position, self.velocity, self.spin = (
            states[clip].double() for states in (trajectory.position, trajectory.velocity, trajectory.spin)
        )  # (T, N, 3)
        self.mass = trajectory.mass[clip].double()
        self.frames = len(self.position)
        touched = torch.zeros(self.frames, len(self.mass), dtype=torch.bool)
        for time, pair in zip(contacts.time.tolist(), contacts.bodies.tolist(), strict=True):
            touched[self.frame_before(time), [body for body in pair if body >= 0]] = True
        # Acceleration (T, N, 3) in the interval before each frame, where nothing struck the body in it; the
        # first frame has none before it, and takes the one after.
        change = self.velocity.diff(dim=0) / self.dt * ~touched[:-1, :, None]
        self.acceleration = torch.cat([change[:1], change]) if self.frames > 1 else self.velocity * 0
        self.frame, self.gained = -1, torch.zeros_like(self.velocity[0])

    def frame_before(self, time: float) -> int:
        return max(0, min(int(time / self.dt - 1e-4), self.frames - 1))

    def surface(self, body: int, time: float, point: Tensor) -> Tensor:
        """Velocity (3) of a body's surface at a point."""
        if body < 0:
            return torch.zeros(3, dtype=torch.float64)
        frame = self.frame_before(time)
        if frame != self.frame:
            self.frame, self.gained = frame, torch.zeros_like(self.gained)
        turning = torch.linalg.cross(self.spin[frame, body], point - self.position[frame, body])
        carried = self.acceleration[frame, body] * (time - frame * self.dt)
        return self.velocity[frame, body] + turning + carried + self.gained[body]

    def strike(self, pair: tuple[int, int], push: Tensor) -> None:
        """Book an impulse (3) that the second body of a pair receives from the first."""
        for body, sign in zip(pair, (-1.0, 1.0), strict=True):
            if body >= 0:
                self.gained[body] += sign * push / self.mass[body]


def _blows(motion: _Motion, contacts: Contacts) -> Iterator[Impact]:
    points, normals = contacts.point.double(), contacts.normal.double()
    for index, (time, pair) in enumerate(zip(contacts.time.tolist(), contacts.bodies.tolist(), strict=True)):
        first, second = pair
        sides = (motion.surface(body, time, points[index]) for body in (first, second))
        approach = float((next(sides) - next(sides)) @ normals[index])
        masses = [float(motion.mass[body]) for body in (first, second) if body >= 0]
        if approach < TOUCH or not masses:
            continue
        reduced = 1 / sum(1 / mass for mass in masses)
        impulse = min(float(contacts.impulse[index]), 2 * reduced * approach)
        if impulse > 0:
            motion.strike((first, second), impulse * normals[index])
            yield Impact(time, (first, second), impulse)


def _strike(row: Tensor, impact: Impact, frequencies: tuple[float, ...]) -> None:
    """Add the ringing of one body to a sound (S)."""
    start = math.ceil(impact.time * RATE)
    if not frequencies or not 0 <= start < len(row):
        return
    length = math.ceil(math.log(1e5) / (math.pi * _LOSS * frequencies[0]) * RATE)  # down to 1e-5
    t = torch.arange(start, min(start + length, len(row)), dtype=torch.float64) / RATE - impact.time
    for k, frequency in enumerate(frequencies, start=1):
        ringing = torch.exp(-math.pi * _LOSS * frequency * t) * torch.sin(2 * math.pi * frequency * t)
        row[start : start + len(t)] += LOUDNESS * impact.impulse / k * ringing


def add_sound(clip: Clip) -> Clip:
    """The clip with the sound of its impacts, as long as its frames; as it is where contacts are unknown."""
    truth = clip.truth
    if truth is None or truth.contacts is None or not truth.metric:
        return clip
    lengths = {clip.frames.shape[1] / fps for fps in clip.fps.tolist()}
    rows = [impact_sound(truth, length) for length in lengths]
    if len(rows) > 1:
        raise ValueError(f"Clips of one batch must last equally long to get sound; got {sorted(lengths)} s.")
    return replace(clip, sound=rows[0].to(clip.frames.device))


class SoundingClips(Dataset[Clip]):
    """The clips of a source with the sound of their impacts."""

    def __init__(self, source: ClipSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Clip:
        return add_sound(self.source[index])

    def name(self, index: int) -> str:
        """The clip's id."""
        return self.source.name(index)
