"""A roll-out drawn where it would be seen, so that a denoiser of pixels need not learn to place numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.forecast import Forecast
from worldgen.physics.readout import NothingSeen, TooManySeen
from worldgen.types import Camera, Clip, Trajectory, select

_FAR = 2.0
"""Cells: an offset beyond is told as this much."""
_SPEED = 0.25
"""Cells per frame that make a number of 1."""
_WITHIN = 0.7
"""Of their radii together: things whose middles are nearer than that are one, misread."""
_UNREAD = "In the known frames of a clip the readout sees nothing, or too much: no roll-out is told there."


class ForecastMaps(Forecast):
    """What a `BallForecast` foretells, on the cells of a picture.

    Each cell tells of the thing that is nearest to it: how much of it covers the cell, softened by how far it
    may have strayed; the way to its middle, its radius and how it moves, in cells; the deviation of its
    place; and its color in the last known frame. It is 0 where nothing is near. Of all cells: whether
    something is foretold, which needs two known frames, and free bodies that the reader sees: two that lie
    within each other are one that it misread, and nothing is foretold there. However many
    things there are, the channels are the same. With ``detail`` the cover is told of so many points along
    both sides of each cell, too: a shape, where the rest is numbers that a denoiser has to make one of.

    Args:
        forecast: With dynamics.
        camera: B = 1; of clips that have none. None refuses them.
        detail: Points along a cell's side; 1 tells of the whole cell alone.

    Raises:
        ValueError: A forecast without dynamics, or a detail below 1.
    """

    channels = 11

    def __init__(self, forecast: BallForecast, camera: Camera | None = None, detail: int = 1) -> None:
        super().__init__()
        if forecast.dynamics is None:
            raise ValueError("ForecastMaps draws roll-outs, and its forecast has no dynamics. Name some.")
        if detail < 1:
            raise ValueError(f"detail of ForecastMaps must be at least 1; got {detail}.")
        self.forecast, self.camera, self._detail = forecast, camera, detail
        if detail > 1:
            self.channels += detail**2
        # What names it, see `worldgen.encoders.base.fingerprint`, beside its weights.
        self.made_of = (
            forecast.foretold_by, forecast.read_by, forecast.told_by, forecast.objects, forecast.readings,
            forecast.noise, None if camera is None else tuple(camera.position.flatten().tolist()),
        )  # fmt: skip

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
            ValueError: No camera, or one that moves; and what `BallForecast.foretell` refuses.
        """
        if clip.camera is None and self.camera is not None:
            clip = replace(clip, camera=camera_of_each(self.camera, clip))
        if clip.camera is None or clip.camera.moves:
            which = "none" if clip.camera is None else "one that moves"
            raise ValueError(
                f"ForecastMaps needs a camera that stands still; the clip has {which}. Name one that is "
                "assumed: model.forecast.camera."
            )
        count = self.forecast.readings if readings is None else readings
        drawn = [
            torch.stack([self._draw(clip, known, frames, reading, cells) for known in contexts], dim=1)
            for reading in range(count)
        ]
        return torch.stack(drawn, dim=1)

    def _draw(
        self, clip: Clip, known: int, frames: int, reading: int, cells: tuple[int, int]
    ) -> Float[Tensor, "B T P h w"]:
        nothing = clip.frames.new_zeros(len(clip), frames, self.channels, *cells)
        if known < 2:
            return nothing
        *_, free = self.forecast.materials(clip)
        alone = free.nonzero().flatten().tolist()
        if len(alone) == len(clip):
            try:
                states, deviation = self.forecast.foretell(clip, known, frames, reading)
            except (NothingSeen, TooManySeen):
                if len(clip) == 1:
                    warnings.warn(_UNREAD, stacklevel=2)
                    return nothing
            else:
                return self._lay(clip, states, deviation, known, cells)
        for index in alone:
            one = select(clip, slice(index, index + 1))
            nothing[index] = self._draw(one, known, frames, reading, cells)[0]
        return nothing

    def _lay(
        self,
        clip: Clip,
        states: Trajectory,
        deviation: Float[Tensor, "B T N"],
        known: int,
        cells: tuple[int, int],
    ) -> Float[Tensor, "B T P h w"]:
        assert clip.camera is not None
        last = clip.frames[:, known - 1]
        maps = draw_maps(states, deviation, clip.camera, last, known - 1, cells, self._detail)
        return maps * ~_misread(states, known)[:, None, None, None, None]


def _misread(states: Trajectory, known: int) -> Bool[Tensor, " B"]:
    """Whether in the known frames two bodies lie within each other."""
    place, there = states.position[:, :known], states.present[:, :known]
    near = (
        torch.cdist(place, place)
        < _WITHIN * (states.extent[:, :, None, 0] + states.extent[:, None, :, 0])[:, None]
    )
    pair = (there[..., None] & there[:, :, None]).triu(1)
    return (near & pair).flatten(1).any(dim=1)


def camera_of_each(camera: Camera, clip: Clip) -> Camera:
    """One camera (B = 1) for each clip, where the clips are."""
    count, device = len(clip), clip.frames.device
    rotation, position = camera.rotation.to(device), camera.position.to(device)
    return Camera(
        position.expand(count, -1), rotation.expand(count, -1, -1), camera.fovy.to(device).expand(count)
    )


def draw_maps(
    states: Trajectory,
    deviation: Float[Tensor, "B T N"],
    camera: Camera,
    picture: Float[Tensor, "B 3 H W"],
    seen: int,
    cells: tuple[int, int],
    detail: int = 1,
) -> Float[Tensor, "B T P h w"]:
    """The channels of `ForecastMaps` for states over T frames.

    Args:
        states: Of N things.
        deviation: Standard deviation of each place in metres.
        camera: That stands still.
        picture: Of the frame ``seen``: things have its colors.
        seen: Which frame that is.
        cells: (h, w).
        detail: Points along a cell's side, of which the cover is told.
    """
    height, width = picture.shape[-2:]
    side = picture.new_tensor([width / cells[1], height / cells[0]])
    place, scale = _in_pixels(states, camera, height, width)
    radius, strayed = states.extent[:, None, :, 0] * scale, deviation * scale  # (B, T, N) pixels
    moved = torch.diff(place, dim=1, prepend=place[:, :1])
    color = _colors(picture, place[:, seen])  # (B, N, 3)
    rows, columns = (torch.arange(n, device=place.device) for n in cells)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)  # (hw, 2)
    middle = (grid + 0.5) * side - 0.5
    way = (place[:, :, None] - middle[:, None]) / side  # (B, T, hw, N, 2)
    far = way.norm(dim=-1).masked_fill(~states.present[:, :, None], torch.inf)
    distance, nearest = far.min(dim=-1, keepdim=True)  # (B, T, hw, 1)

    def of_nearest(value: Float[Tensor, "B T N"]) -> Float[Tensor, "B T hw 1"]:
        return value[:, :, None].expand(far.shape).gather(-1, nearest)

    size, blur = of_nearest(radius / side[0]), of_nearest(strayed / side[0])
    cover = torch.sigmoid((size - distance) / (0.25 + 0.6 * blur))
    near = (size + blur + _FAR - distance).clamp(0, 1)  # of what is further nothing more is told
    offset = way.gather(3, nearest[..., None].expand(-1, -1, -1, -1, 2))[..., 0, :].clamp(-_FAR, _FAR)
    motion = torch.cat([of_nearest(moved[..., axis]) for axis in range(2)], dim=-1) / side / _SPEED
    time = states.position.shape[1]
    colors = [of_nearest(color[:, None, :, one].expand(-1, time, -1)) for one in range(3)]
    told = [offset, size, motion, (blur + 1e-2).log() / 4, torch.cat(colors, dim=-1) * cover]
    whether = torch.ones_like(cover)
    maps = torch.cat(
        [cover, *(torch.where(distance.isfinite(), near * one, 0.0) for one in told), whether], -1
    )
    maps = maps.transpose(2, 3).unflatten(-1, cells).float()
    if detail == 1:
        return maps
    points = (cells[0] * detail, cells[1] * detail)
    cover = draw_maps(states, deviation, camera, picture, seen, points)[:, :, :1].flatten(0, 1)
    return torch.cat([maps, F.pixel_unshuffle(cover, detail).unflatten(0, maps.shape[:2])], dim=2)


def _in_pixels(
    states: Trajectory, camera: Camera, height: int, width: int
) -> tuple[Float[Tensor, "B T N 2"], Float[Tensor, "B T N"]]:
    """Where things are seen, and how many pixels a metre is there."""
    right = camera.rotation[:, None, None, :, 0]
    place = camera.project(states.position, height, width)
    beside = camera.project(states.position + 0.1 * right, height, width)
    return place, (beside - place).norm(dim=-1) / 0.1


def _colors(picture: Float[Tensor, "B 3 H W"], place: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N 3"]:
    """Around each place, less a middle gray; of what is outside the picture the nearest within."""
    size = place.new_tensor([picture.shape[-1], picture.shape[-2]])
    at = ((place + 0.5) / size * 2 - 1)[:, :, None].to(picture)
    smooth = F.avg_pool2d(picture, 3, stride=1, padding=1, count_include_pad=False)
    found = F.grid_sample(smooth, at, padding_mode="border", align_corners=False)
    return found[..., 0].transpose(1, 2) - 0.5
