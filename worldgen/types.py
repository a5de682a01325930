"""The types that flow between rooms: Clip, Conditioning, Trajectory, Check, PhysicsReport.

Frozen dataclasses of tensors. Shapes: B clips, T frames, N objects, H rows, W columns, L tokens, D channels.
World frame: z up, SI units. Change one with `dataclasses.replace`; every change is validated again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from math import isfinite
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.joints import Joints
from worldgen.shown import ShownClip, ShownReport, ShownTrajectory

GRAVITY = 9.81
"""m/s^2, downward: of the simulated scenes, and of a world of which nothing else is known."""
Source = Literal["truth", "readout", "replay"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Camera:
    """A pinhole camera per clip: x right, y up, looking along its own -z (MuJoCo's convention).

    A camera that moves has a pose per frame; one that stands still has one, without the axis T.
    """

    position: Float[Tensor, "B *T 3"]
    """Metres, world frame."""
    rotation: Float[Tensor, "B *T 3 3"]
    """Columns are the camera's x, y and z axes in the world frame."""
    fovy: Float[Tensor, " B"]
    """Vertical field of view in degrees."""

    def __post_init__(self) -> None:
        moving = self.position.ndim == 3
        batch = _batch_of(self.position, "Camera.position", rank=3 if moving else 2)
        times = tuple(self.position.shape[1:2]) if moving else ()
        _require_shape(self.position, (batch, *times, 3), "Camera.position")
        _require_shape(self.rotation, (batch, *times, 3, 3), "Camera.rotation")
        _require_shape(self.fovy, (batch,), "Camera.fovy")
        if batch and not (self.fovy.min().item() > 0 and self.fovy.max().item() < 180):
            raise ValueError(f"Camera.fovy must lie in (0, 180) degrees; got {self.fovy.tolist()}.")

    @property
    def moves(self) -> bool:
        """Whether there is a pose per frame."""
        return self.position.ndim == 3

    def over(self, frames: int) -> Camera:
        """The same camera with a pose for each of so many frames.

        Raises:
            ValueError: It has a pose per frame, but for another number of frames.
        """
        if not self.moves:
            return replace(
                self,
                position=self.position[:, None].expand(-1, frames, -1),
                rotation=self.rotation[:, None].expand(-1, frames, -1, -1),
            )
        if self.position.shape[1] != frames:
            raise ValueError(
                f"a moving camera must have one pose per frame; got {self.position.shape[1]} for {frames}."
            )
        return self

    def project(self, points: Float[Tensor, "B T N 3"], height: int, width: int) -> Float[Tensor, "B T N 2"]:
        """Pixel coordinates (x right, y down) of world points; the centre of the first pixel is (0, 0)."""
        axes = "btij" if self.moves else "bij"
        local = torch.einsum(f"btni,{axes}->btnj", points - self._origin(points.shape[1]), self.rotation)
        focal = self._focal(height)[:, None, None]
        depth = -local[..., 2]
        x = focal * local[..., 0] / depth + (width - 1) / 2
        y = -focal * local[..., 1] / depth + (height - 1) / 2
        return torch.stack([x, y], dim=-1)

    def unproject(
        self, pixels: Float[Tensor, "B T N 2"], height: int, width: int, plane_y: float = 0.0
    ) -> Float[Tensor, "B T N 3"]:
        """World points where the pixels' rays meet the vertical plane ``y = plane_y`` (metres)."""
        focal = self._focal(height)[:, None, None]
        right = (pixels[..., 0] - (width - 1) / 2) / focal
        up = -(pixels[..., 1] - (height - 1) / 2) / focal
        local = torch.stack([right, up, -torch.ones_like(up)], dim=-1)
        axes = "btij" if self.moves else "bij"
        ray = torch.einsum(f"btnj,{axes}->btni", local, self.rotation)
        origin = self._origin(pixels.shape[1])
        distance = (plane_y - origin[..., 1]) / ray[..., 1]
        return origin + distance[..., None] * ray

    def _origin(self, frames: int) -> Float[Tensor, "B *T 1 3"]:
        return self.over(frames).position[:, :, None] if self.moves else self.position[:, None, None]

    def _focal(self, height: int) -> Float[Tensor, " B"]:
        return height / 2 / torch.tan(torch.deg2rad(self.fovy) / 2)


@dataclass(frozen=True)
class Contacts:
    """Contacts of one clip, K of them, in order of time."""

    time: Float[Tensor, " K"]
    """Seconds since the first frame."""
    bodies: Int[Tensor, "K 2"]
    """Object indices; -1 is the fixed world."""
    point: Float[Tensor, "K 3"]
    """Metres, world frame."""
    normal: Float[Tensor, "K 3"]
    """Unit vector from the first body to the second."""
    impulse: Float[Tensor, " K"]
    """Normal impulse in N s."""

    def __post_init__(self) -> None:
        count = _batch_of(self.time, "Contacts.time", rank=1)
        _require_shape(self.bodies, (count, 2), "Contacts.bodies")
        _require_shape(self.point, (count, 3), "Contacts.point")
        _require_shape(self.normal, (count, 3), "Contacts.normal")
        _require_shape(self.impulse, (count,), "Contacts.impulse")


@dataclass(frozen=True)
class Trajectory(ShownTrajectory):
    """States of N rigid bodies over T frames. Rows with ``present`` False carry no meaning."""

    position: Float[Tensor, "B T N 3"]
    """Centre of mass, metres (pixels only where a foreign video has no scale: see ``metric``)."""
    rotation: Float[Tensor, "B T N 4"]
    """Unit quaternion, w first."""
    velocity: Float[Tensor, "B T N 3"]
    """m/s."""
    spin: Float[Tensor, "B T N 3"]
    """rad/s, world frame."""
    mass: Float[Tensor, "B N"]
    """kg; 0 where unknown."""
    extent: Float[Tensor, "B N 3"]
    """Half sizes, metres; 0 of a point."""
    present: Bool[Tensor, "B T N"]
    """True where the object exists and was seen."""
    dt: Float[Tensor, " B"]
    """Seconds between frames."""
    contacts: tuple[Contacts, ...] | None = None
    """One entry per clip, where known."""
    metric: bool = True
    """True when lengths are metres, False when they are pixels of a video without scale."""
    joints: Joints | None = None
    """What holds the bodies together, where they are parts of a figure."""

    def __post_init__(self) -> None:
        if self.position.ndim != 4 or self.position.shape[-1] != 3:
            raise ValueError(f"Trajectory.position must be (B T N 3); got {tuple(self.position.shape)}.")
        batch, time, count, _ = self.position.shape
        for name, last in (("rotation", 4), ("velocity", 3), ("spin", 3)):
            _require_shape(getattr(self, name), (batch, time, count, last), f"Trajectory.{name}")
        _require_shape(self.mass, (batch, count), "Trajectory.mass")
        _require_shape(self.extent, (batch, count, 3), "Trajectory.extent")
        _require_shape(self.present, (batch, time, count), "Trajectory.present")
        _require_shape(self.dt, (batch,), "Trajectory.dt")
        if self.present.dtype != torch.bool:
            raise ValueError(
                f"Trajectory.present must be bool; got {self.present.dtype}. Compare with 0 first."
            )
        if batch and not (self.dt.min().item() > 0 and self.dt.max().item() < float("inf")):
            raise ValueError(f"Trajectory.dt must be positive seconds; got {self.dt.tolist()}.")
        for name in ("position", "rotation", "velocity", "spin"):
            _require_finite(getattr(self, name), self.present, f"Trajectory.{name}")
        for name in ("mass", "extent"):
            values = getattr(self, name).reshape(batch, count, -1)
            _require_finite(values, self.present.any(dim=1), f"Trajectory.{name}", least=0.0)
        off = torch.where(self.present, self.rotation.norm(dim=-1) - 1, 0.0)
        if off.numel() and not off.abs().max().item() < 1e-3:
            got = f"a norm of {1 + off.flatten()[off.abs().argmax()].item():.4g}"
            raise ValueError(f"Trajectory.rotation must be unit quaternions; got {got}. Normalize first.")
        if self.contacts is not None and len(self.contacts) != batch:
            got = f"{len(self.contacts)} for {batch}"
            raise ValueError(f"Trajectory.contacts must hold one entry per clip; got {got}.")


@dataclass(frozen=True)
class Clip(ShownClip):
    """A batch of videos of equal length and size, with whatever else is known about them."""

    frames: Float[Tensor, "B T 3 H W"]
    """RGB in [0, 1]."""
    fps: Float[Tensor, " B"]
    """Frames per second."""
    prompts: tuple[str, ...]
    """One caption per clip; "" where there is none."""
    sound: Float[Tensor, "B S"] | None = None
    """Mono, 16 kHz, in [-1, 1]."""
    depth: Float[Tensor, "B T 1 H W"] | None = None
    """Distance along the camera axis in metres."""
    masks: Bool[Tensor, "B T N H W"] | None = None
    """Visible pixels of each object."""
    imu: Float[Tensor, "B S 6"] | None = None
    """Accelerometer (m/s^2) and gyroscope (rad/s)."""
    camera: Camera | None = None
    truth: Trajectory | None = None
    scenes: tuple[str, ...] | None = None
    """MJCF of the world that was filmed, where it was simulated."""
    descriptions: tuple[str, ...] | None = None
    """One long caption per clip, where there is one: everything that is there and happens, in order."""

    def __post_init__(self) -> None:
        if self.frames.ndim != 5 or self.frames.shape[2] != 3:
            raise ValueError(f"Clip.frames must be (B T 3 H W) RGB; got shape {tuple(self.frames.shape)}.")
        batch, time, _, height, width = self.frames.shape
        if 0 in self.frames.shape:
            raise ValueError(f"Clip.frames must hold frames of pixels; got shape {tuple(self.frames.shape)}.")
        if not self.frames.is_floating_point():
            raise ValueError(
                f"Clip.frames must be floating point in [0, 1]; got {self.frames.dtype}. Divide by 255 first."
            )
        low, high = (extreme.item() for extreme in torch.aminmax(self.frames))
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"Clip.frames must be RGB in [0, 1]; got [{low:.4g}, {high:.4g}]. Divide by 255 or clamp."
            )
        _require_shape(self.fps, (batch,), "Clip.fps")
        if not self.fps.min().item() > 0:
            raise ValueError(f"Clip.fps must be positive; got {self.fps.tolist()}.")
        for name in ("prompts", "scenes", "descriptions"):
            texts = getattr(self, name)
            if texts is not None and len(texts) != batch:
                raise ValueError(
                    f"Clip.{name} must hold one text per clip; got {len(texts)} for {batch} clips."
                )
        if self.sound is not None:
            _require_shape(self.sound, (batch, self.sound.shape[-1]), "Clip.sound")
            if self.sound.numel() and self.sound.abs().max() > 1:
                raise ValueError(
                    f"Clip.sound must lie in [-1, 1]; got a peak of {self.sound.abs().max():.4g}."
                )
        if self.depth is not None:
            _require_shape(self.depth, (batch, time, 1, height, width), "Clip.depth")
        if self.masks is not None:
            _require_shape(self.masks, (batch, time, self.masks.shape[2], height, width), "Clip.masks")
            if self.masks.dtype != torch.bool:
                raise ValueError(f"Clip.masks must be bool; got {self.masks.dtype}. Compare with 0 first.")
        if self.imu is not None:
            _require_shape(self.imu, (batch, self.imu.shape[1], 6), "Clip.imu")
        if self.camera is not None and len(self.camera.fovy) != batch:
            raise ValueError(
                f"Clip.camera must hold one camera per clip; got {len(self.camera.fovy)} for {batch} clips."
            )
        if self.camera is not None and self.camera.moves:
            self.camera.over(time)
        if self.truth is not None and self.truth.position.shape[:2] != (batch, time):
            raise ValueError(
                f"Clip.truth must cover the clip's {batch} clips and {time} frames; "
                f"got {tuple(self.truth.position.shape[:2])}."
            )

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Clip:
        """One clip of the batch, as a batch of one."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of a batch of {len(self)}")
        return select(self, slice(index % len(self), index % len(self) + 1))


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser attends to."""

    tokens: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]
    """True where a token is real."""
    pooled: Float[Tensor, "B D"]

    def __post_init__(self) -> None:
        if self.tokens.ndim != 3:
            raise ValueError(f"Conditioning.tokens must be (B L D); got {tuple(self.tokens.shape)}.")
        batch, length, dim = self.tokens.shape
        _require_shape(self.mask, (batch, length), "Conditioning.mask")
        _require_shape(self.pooled, (batch, dim), "Conditioning.pooled")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Conditioning.mask must be bool; got {self.mask.dtype}.")


@dataclass(frozen=True)
class Check:
    """One physical check of one clip; ``value`` is None where it does not apply, and ``note`` says why."""

    name: str
    value: float | None
    unit: str
    limit: float
    """The value at which a careful reader stops believing the clip."""
    score: float | None
    """In [0, 1], 1 = physical; None where the check does not apply."""
    note: str = ""
    blind_to: tuple[str, ...] = ()
    """Violations that this check cannot see, by theory."""
    passes: Literal["below", "above"] = "below"
    """The side of the limit on which a physical clip lies."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.score is None):
            raise ValueError(f"Check {self.name!r} must have both a value and a score, or neither.")
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise ValueError(f"Check {self.name!r} must score in [0, 1]; got {self.score:.4g}.")
        if self.value is None and not self.note:
            raise ValueError(f"Check {self.name!r} does not apply, and must say why in its note.")

    @property
    def applies(self) -> bool:
        return self.value is not None


@dataclass(frozen=True)
class PhysicsReport(ShownReport):
    """The checks of one clip. ``source`` says whose states were checked; sources are never averaged."""

    clip: str
    source: Source
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        if self.source not in ("truth", "readout", "replay"):
            raise ValueError(f"PhysicsReport.source must be truth, readout or replay; got {self.source!r}.")
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise ValueError(f"PhysicsReport must name each check once; got {names}.")

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r}; there are {[check.name for check in self.checks]}")


def select(value: _T, rows: slice) -> _T:
    """The chosen rows of the batch axis of a Clip, Trajectory, Camera or Conditioning."""
    assert is_dataclass(value) and not isinstance(value, type)
    return replace(
        value, **{field.name: _select_rows(getattr(value, field.name), rows) for field in fields(value)}
    )


def first_objects(truth: Trajectory, count: int) -> Trajectory:
    """Without the objects that only fill up a batch, which come last."""
    moving = ("position", "rotation", "velocity", "spin", "present")
    kept = {name: getattr(truth, name)[:, :, :count] for name in moving}
    return replace(truth, **kept, mass=truth.mass[:, :count], extent=truth.extent[:, :count])


def to_device(value: _T, device: torch.device | str) -> _T:
    """The same Clip, Trajectory or other frozen dataclass with every tensor on the device."""
    return _move(value, device)


def _move(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: _move(getattr(value, field.name), device) for field in fields(value)}
        )
    if isinstance(value, tuple):
        return tuple(_move(item, device) for item in value)
    return value


def _select_rows(value: object, rows: slice) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return select(value, rows)
    return value[rows] if isinstance(value, (Tensor, tuple)) else value


def _batch_of(tensor: Tensor, name: str, rank: int) -> int:
    if tensor.ndim != rank:
        raise ValueError(f"{name} must have {rank} axes; got shape {tuple(tensor.shape)}.")
    return tensor.shape[0]


def _require_finite(tensor: Tensor, there: Tensor, name: str, least: float = -float("inf")) -> None:
    if tensor.is_floating_point() and tensor.numel():
        low, high = (extreme.item() for extreme in torch.aminmax(tensor))
        if isfinite(low + high) and low >= least:
            return  # absent objects too; this is soon said
    right = tensor.is_floating_point() and (torch.isfinite(tensor) & (tensor >= least)).all(dim=-1)
    if right is False or not bool((right | ~there).all()):
        what = "finite" if least < 0 else "finite and not negative"
        raise ValueError(f"{name} must be {what} where objects are present; got {tensor.dtype} that is not.")


def _require_shape(tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}; got {tuple(tensor.shape)}.")
