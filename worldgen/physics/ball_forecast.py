"""What a generator is told of balls besides frames and words: materials, and where dynamics see them go.

The roll-out of frozen dynamics from the known frames is laid beside the noise, with how far it can be
trusted. It is made once for a clip, and costs a training step nothing.
"""

# pyright: reportOptionalSubscript=false

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.physics.dynamics import Learned
from worldgen.physics.flight import Dynamics
from worldgen.physics.forecast import Forecast
from worldgen.physics.graph import Scenery, floor_and_balls
from worldgen.physics.start import fit_start
from worldgen.types import Clip, Trajectory

Materials = tuple[
    Float[Tensor, " B"], Float[Tensor, "B N"], Float[Tensor, "B N"], Bool[Tensor, " B"], Bool[Tensor, " B"]
]
"""Gravity (m/s^2, downward), masses (kg; 0 unknown), restitutions of balls, whether the floor is dead, and
whether what moves in a clip is free at all: balls on a floor, or what flies."""
Reading = tuple[Trajectory, Float[Tensor, "B T N"]]
"""States of the objects of a clip, and the standard deviation in m of each place."""
_SPAN, _FRAME = (0.5, 8.0, 10.0), 0.04
"""Metres, displacements of a frame, and m/s^2 that make numbers of about 1; seconds of a frame likewise."""
_DENSITY = 52.4
"""kg in a cubic metre of the box around a ball of which no mass is known: 100 in the ball."""
_DEVIATIONS = (1e-3, 1.0)
"""Metres: what is known better than the first is called known."""


class TrueStates:
    """The simulator's own states as a reading, with an error of its own if wanted: a bench without pixels.

    Args:
        error: Standard deviation in m of every place along x and z; the same for the same states.
    """

    def __init__(self, error: float = 0.0) -> None:
        self.error = error

    def __call__(self, clip: Clip) -> Reading:
        """Raises ValueError of a clip without truth."""
        if clip.truth is None:
            raise ValueError("TrueStates needs Clip.truth, and the clip has none. Use simulated clips.")
        read = replace(clip.truth, contacts=None)
        return _blur(read, self.error, number=0), torch.full_like(read.position[..., 0], self.error)


class BallForecast(Forecast):
    """Materials, and a roll-out of the known frames, as channels beside a latent.

    Bodies are balls on a floor, or of any shape where they fly and touch nothing: then each is foretold as a
    ball of its volume.

    Of each of ``objects`` objects: log mass, restitution, radius, presence; the way since the last known
    frame, and displacement, as in a `StateCodec`; log of the place's standard deviation. Of all: gravity,
    whether the floor is dead, whether a roll-out is told, the time step. A roll-out needs two known frames,
    and dynamics: without them all else is told, and its ways are 0.

    Args:
        materials: Of clips: `worldgen.simulation.scenes.materials.scene_materials` or `prompt_materials`.
            Where masses are not known, all have one density.
        dynamics: Frozen, such as `load_dynamics` gives; None foretells nothing.
        reader: States of the known frames; `TrueStates` when None.
        objects: N, the most objects that a clip may have.
        readings: How many a training clip has: the first as it was read, the others with errors up to
            ``noise``, so that a generator learns how far to trust them.
        noise: Metres, the largest standard deviation of these errors.

    Raises:
        ValueError: Fewer than one reading or object, or a negative noise.
    """

    features = 11

    def __init__(
        self,
        materials: Callable,
        dynamics: Dynamics | None = None,
        reader: Callable | None = None,
        objects: int = 2,
        readings: int = 1,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        if objects < 1 or readings < 1 or not 0 <= noise < math.inf:
            raise ValueError(
                "objects and readings of a BallForecast must be at least 1, and its noise not negative; "
                f"got {objects}, {readings} and {noise}."
            )
        self.dynamics = dynamics
        # The yaml reader cannot match jaxtyping's shapes.
        self.materials: Callable[[Clip], Materials] = materials
        self.reader: Callable[[Clip], Reading] = reader or TrueStates()
        self.objects, self.readings, self.noise = objects, readings, float(noise)
        # What names it, see `worldgen.encoders.base.fingerprint`, beside its weights.
        self.foretold_by = type(self.dynamics).__name__
        self.read_by = f"{type(self.reader).__name__} {getattr(self.reader, 'error', '')}".strip()
        self.told_by = getattr(materials, "__name__", type(materials).__name__)
        self.channels = 4 + self.features * objects

    @torch.no_grad()
    def draw(
        self,
        clip: Clip,
        contexts: Sequence[int],
        frames: int,
        readings: int | None = None,
        cells: tuple[int, int] = (1, 1),
    ) -> Float[Tensor, "B V K T P h w"]:
        """As of `Forecast`.

        Raises:
            ValueError: No scene, or not one of balls; more objects than places for them; a step or a gravity
                that the dynamics did not learn.
        """

        def told(reading: int) -> Tensor:
            foretold = [self._foretell(clip, known, frames, reading) for known in contexts]
            return torch.stack([self.lay(*one) for one in foretold], dim=1)

        count = self.readings if readings is None else readings
        drawn = torch.stack([told(reading) for reading in range(count)], dim=1)
        return drawn[..., None, None].expand(*drawn.shape, *cells)

    @torch.no_grad()
    def foretell(self, clip: Clip, known: int, frames: int, reading: int = 0) -> Reading:
        """Where the dynamics see the objects go: the known frames as they were read, then the roll-out.

        Beside it the standard deviation in m of each place.

        Raises:
            ValueError: As `draw`; no dynamics, or fewer than two known frames.
        """
        if self.dynamics is None or known < 2:
            raise ValueError(
                "A roll-out needs dynamics and two known frames; got "
                f"{type(self.dynamics).__name__} and {known}."
            )
        return self._foretell(clip, known, frames, reading)[:2]

    def bodies_of(self, told: Float[Tensor, "B T P"]) -> tuple[Trajectory, Scenery]:
        """What channels of `draw` tell of the balls, at no place in particular, and of what is around."""
        of_all = told[:, 0, :4]
        of_body = told[:, 0, 4 : 4 + self.objects * self.features]
        of_body = of_body.unflatten(-1, (self.objects, self.features))
        radius = (of_body[..., 2] * _SPAN[0]).clamp(min=1e-3)
        nowhere = radius.new_zeros(len(radius), 1, self.objects, 3)
        bodies = Trajectory(
            position=nowhere,
            rotation=radius.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(radius), 1, self.objects, 4),
            velocity=nowhere,
            spin=nowhere,
            mass=of_body[..., 0].exp(),
            extent=radius[..., None].expand(-1, -1, 3),
            present=of_body[:, None, :, 3] > 0.5,
            dt=of_all[:, 3] * _FRAME,
        )
        gravity, dead = of_all[:, 0] * _SPAN[2], of_all[:, 1] > 0.5
        return bodies, floor_and_balls(bodies, gravity, of_body[..., 1].clamp(0, 1), dead)

    # ---------------------------------------------------------------- parts of the above

    def _foretell(
        self, clip: Clip, known: int, frames: int, reading: int
    ) -> tuple[Trajectory, Float[Tensor, "B T N"], Materials, int]:
        """States, their deviations, materials, and from how many frames they are foretold, which may be 0."""
        read, deviation = self.reader(_cut(clip, known))
        count = read.position.shape[2]
        if count > self.objects:
            raise ValueError(f"BallForecast holds {self.objects} objects; got {count}. Raise its objects.")
        gravity, mass, restitution, dead, free = (
            part.to(read.position.device) for part in self.materials(clip)
        )
        if not free.all():
            which = int((~free).nonzero()[0])
            raise ValueError(
                f"BallForecast foretells balls on a floor and what flies; clip {which} of {len(clip)} is "
                f"not said to be of such ({clip.prompts[which]!r}). Use ForecastMaps, or leave it out."
            )
        if mass.shape[1] < count:  # places that no clip of the batch fills
            mass, restitution = (
                torch.nn.functional.pad(part, (0, count - part.shape[1]), value=blank)
                for part, blank in ((mass, 1.0), (restitution, 0.0))
            )
        gravity, mass, restitution = (part.to(read.position.dtype) for part in (gravity, mass, restitution))
        mass, restitution = mass[:, :count], restitution[:, :count]
        read = replace(read, extent=_rounded(read.extent))
        volume = 8 * read.extent.prod(dim=-1)
        mass = torch.where(mass > 0, mass, torch.where(volume > 0, _DENSITY * volume, 1.0))
        materials = (gravity, mass, restitution, dead, free)
        read = replace(read, mass=mass)
        share = self.noise * 10.0 ** -((reading - 1) / max(1, self.readings - 1)) if reading else 0.0
        read = _blur(read, share, number=reading)
        deviation = (deviation.square() + share**2).sqrt()
        if self.dynamics is None or known < 2:
            blank = torch.zeros_like(read.position[:, :1]).expand(-1, frames, -1, -1)
            present = read.present[:, -1:].expand(-1, frames, -1)
            still = _over_time(read, blank, torch.zeros_like(blank), present)
            return still, deviation[:, :1].expand(-1, frames, -1) * 0, materials, 0
        falls = gravity[gravity > 0]  # what floats touches nothing, and flight is exact
        if isinstance(self.dynamics, Learned) and len(falls):
            self.dynamics.require(float(read.dt[0]), (float(falls.min()), float(falls.max())))
        start, sure = fit_start(read, deviation, gravity)
        rolled, doubt = start, sure[:, None, :, 0, 0].sqrt()
        if frames > known:
            scenery = floor_and_balls(start, gravity, restitution, dead)
            rolled, doubt = self.dynamics.rollout_with_doubt(start, scenery, frames - known, sure)
        whole = _over_time(
            read,
            torch.cat([read.position[:, :-1], rolled.position], dim=1),
            torch.cat([read.velocity[:, :-1], rolled.velocity], dim=1),
            torch.cat([read.present[:, :-1], rolled.present], dim=1),
        )
        return whole, torch.cat([deviation[:, :-1], doubt], dim=1), materials, known

    def lay(
        self, states: Trajectory, deviation: Float[Tensor, "B T N"], materials: Materials, told: int
    ) -> Float[Tensor, "B T P"]:
        """The channels of one reading.

        Args:
            states: Known frames and roll-out.
            deviation: Metres, of each place.
            materials: Of the same clips.
            told: From how many frames it is foretold; 0 of nothing.
        """
        gravity, mass, restitution, dead, _ = materials
        frames, count = states.position.shape[1:3]
        present = states.present.to(mass.dtype)[..., None]
        place = (states.position - states.position[:, max(0, told - 1), None]) / _SPAN[0]
        moved = torch.diff(place, dim=1, prepend=place[:, :1]) * _SPAN[1]
        low, high = (math.log(bound) for bound in _DEVIATIONS)
        doubt = ((deviation.clamp(*_DEVIATIONS).log() - low) / (high - low))[..., None]
        still = torch.stack([mass.log(), restitution, states.extent[..., 0] / _SPAN[0]], dim=-1)
        if not told:
            place, moved, doubt = torch.zeros_like(place), torch.zeros_like(place), torch.ones_like(doubt)
        columns = [still[:, None].expand(-1, frames, -1, -1), torch.ones_like(doubt), place, moved, doubt]
        of_body = torch.cat(columns, dim=-1) * present
        of_body = torch.nn.functional.pad(of_body, (0, 0, 0, self.objects - count))
        whether = torch.full_like(gravity, float(told > 0))
        parts = [gravity / _SPAN[2], dead.to(gravity), whether, states.dt.to(gravity) / _FRAME]
        of_all = torch.stack(parts, dim=-1)
        return torch.cat([of_all[:, None].expand(-1, frames, -1), of_body.flatten(2)], dim=-1).float()


def _rounded(extent: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    """Of balls as it is, of other bodies that of a ball of their box's volume."""
    ball = extent.amax(dim=-1, keepdim=True) - extent.amin(dim=-1, keepdim=True) < 1e-6
    return torch.where(ball, extent, extent.prod(dim=-1, keepdim=True) ** (1 / 3))


def _cut(clip: Clip, known: int) -> Clip:
    """The known frames alone, so that no reader looks further."""
    truth = clip.truth
    if truth is not None:
        over_time = ("position", "rotation", "velocity", "spin", "present")
        states = {name: getattr(truth, name)[:, :known] for name in over_time}
        truth = replace(truth, contacts=None, **states)
    camera = None if clip.camera is None or clip.camera.moves else clip.camera
    return Clip(
        clip.frames[:, :known], clip.fps, clip.prompts, camera=camera, truth=truth, scenes=clip.scenes
    )


def _over_time(read: Trajectory, position: Tensor, velocity: Tensor, present: Tensor) -> Trajectory:
    """The same bodies over other frames; they do not turn."""
    return replace(
        read,
        position=position,
        velocity=velocity,
        present=present,
        rotation=read.rotation[:, :1].expand(-1, position.shape[1], -1, -1),
        spin=torch.zeros_like(position),
        contacts=None,
    )


def _blur(read: Trajectory, error: float, number: int) -> Trajectory:
    """Places with errors along x and z, drawn anew for each number, and alike for the same states."""
    if error == 0:
        return read
    noise = torch.zeros_like(read.position)
    for clip, _, body in read.present.any(dim=1, keepdim=True).nonzero().tolist():
        path = read.position[clip, :, body].detach().cpu().float()
        digest = hashlib.sha256(path[0].numpy().tobytes() + bytes([number])).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        noise[clip, :, body] = torch.randn(path.shape, generator=generator).to(noise)
    return replace(read, position=read.position + error * noise * noise.new_tensor([1.0, 0.0, 1.0]))
