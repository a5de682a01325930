"""How far what was read of a clip is from the truth, and whether the readout knew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from worldgen.physics.slots import SlotReading
from worldgen.types import Clip

NEAR = 10.0
"""Pixels beyond which what was read is not the thing."""


@dataclass(frozen=True)
class ReadingErrors:
    """Of the true things of B clips, over T frames of ``size`` rows."""

    offset: Float[Tensor, "B T N 2"]
    """Read minus true place in pixels; NaN of what was not read."""
    scaled: Float[Tensor, "B T N 2"]
    """The same over the standard deviation that the readout said."""
    half_size: Float[Tensor, "B T N"]
    """Read minus true logarithm."""
    metres: Float[Tensor, "B T N"]
    """Metres in a pixel, where the thing is."""
    share: Float[Tensor, "B T N"]
    """Of the thing's pixels that are seen, in [0, 1]."""
    spurious: Float[Tensor, " B"]
    """Things per frame that are read and not there."""
    switches: Float[Tensor, " B"]
    """How often a thing went on in another slot."""

    @property
    def distance(self) -> Float[Tensor, "B T N"]:
        """Pixels; NaN of what was not read."""
        return self.offset.norm(dim=-1)

    def where(self, chosen: Bool[Tensor, "B T N"]) -> dict[str, float]:
        """The numbers of the chosen things that were read, by name, and the share of those that were not."""
        read = chosen & ~self.distance.isnan()
        distance, scaled = self.distance[read], self.scaled[read].abs()
        told = {"missed": 1 - int(read.sum()) / max(1, int(chosen.sum())), "things": float(chosen.sum())}
        if not read.any():
            return told
        return {
            "median_px": float(distance.median()),
            "p95_px": float(np.quantile(distance.cpu().numpy(), 0.95)),
            "rms_px": float(distance.square().mean().sqrt()),
            "median_m": float((distance * self.metres[read]).median()),
            "within_1sd": float((scaled < 1).float().mean()),
            "within_2sd": float((scaled < 2).float().mean()),
            "size": float(self.half_size[read].abs().median()),
            **told,
        }


def reading_errors_of(reading: SlotReading, clip: Clip) -> ReadingErrors:
    """Each frame's slots matched to the true things with the least sum of distances, none beyond `NEAR`.

    Args:
        reading: Of the clip's frames, or of others of the same things.
        clip: With truth and camera.
    """
    pixels, half_size, share, metres = true_places(clip)
    batch, time, count, _ = pixels.shape
    read = reading.presence > 0.5
    away = (pixels[:, :, :, None] - reading.pixels[:, :, None]).norm(dim=-1)  # (B, T, N, slots)
    there = clip.truth.present if clip.truth is not None else share > 0
    allowed = (away < NEAR) & read[:, :, None] & there[..., None]
    cost = torch.where(allowed, away, 1e3).cpu().numpy()
    slot = torch.full((batch, time, count), -1)
    for b, t in np.ndindex(batch, time):
        things, slots = linear_sum_assignment(cost[b, t])
        for thing, own in zip(things, slots, strict=True):
            if cost[b, t, thing, own] < NEAR:
                slot[b, t, thing] = int(own)
    slot = slot.to(pixels.device)
    found, own = slot >= 0, slot.clamp(min=0)

    def of_slot(values: Tensor) -> Tensor:
        return torch.where(found, values.gather(2, own), torch.nan)

    offset = torch.stack([of_slot(reading.pixels[..., axis]) for axis in range(2)], dim=-1) - pixels
    deviation = (of_slot(reading.log_variance) / 2).exp()
    return ReadingErrors(
        offset=offset,
        scaled=offset / deviation[..., None],
        half_size=of_slot(reading.half_size).log() - half_size.log(),
        metres=metres,
        share=share,
        spurious=(read.sum(dim=(1, 2)) - found.sum(dim=(1, 2))).float() / time,
        switches=_switches(slot),
    )


def true_places(clip: Clip) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where things are in a clip's pictures, of which the states are known.

    Returns:
        Middles in pixels (B T N 2); half sizes in pixels (the geometric mean of a body's three), the share of
        each thing's pixels that is seen, of the most that are ever seen, and metres in a pixel (B T N).

    Raises:
        ValueError: No truth or no camera.
    """
    truth, camera = clip.truth, clip.camera
    if truth is None or camera is None:
        raise ValueError("A readout learns from Clip.truth and Clip.camera; the clip lacks one. Simulate it.")
    time, height = clip.frames.shape[1], clip.frames.shape[-2]
    eye = camera.over(time)
    depth = -torch.einsum("btni,bti->btn", truth.position - eye.position[:, :, None], eye.rotation[..., 2])
    metres = depth / (height / 2 / torch.tan(torch.deg2rad(camera.fovy) / 2))[:, None, None]
    half_size = truth.extent.clamp(min=1e-6).log().mean(dim=-1).exp()[:, None] / metres
    share = truth.present.float()
    if clip.masks is not None:
        count = clip.masks.flatten(3).sum(dim=-1).float()
        share = share * count / count.amax(dim=1, keepdim=True).clamp(min=1)
    return camera.project(truth.position, height, clip.frames.shape[-1]), half_size, share, metres


def _switches(slot: Tensor) -> Float[Tensor, " B"]:
    """How often the slot of a thing is not the one that it was read in before."""
    last, count = slot[:, 0], torch.zeros(len(slot), device=slot.device)
    for now in slot[:, 1:].unbind(dim=1):
        changed = (now >= 0) & (last >= 0) & (now != last)
        count = count + changed.sum(dim=1)
        last = torch.where(now >= 0, now, last)
    return count
