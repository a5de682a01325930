"""A network that reads object states off frames: where things are, how large, and how sure that is.

Every place of a picture votes for the middle of the thing that it sees; a position is the mean of the votes
that agree (a vote of Hough's; Qi et al. 2019, 1904.09664). Which thing is which over time is in `slots`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.parts import load_part, save_part
from worldgen.physics.slots import Maps, SlotReading, follow, spot, to_world
from worldgen.types import Clip, Trajectory

_CELL = 2
"""Pixels, the side of what votes."""
_SIZE = 5.0
"""Pixels, the half size of a common thing: what an untrained network says."""
_DOUBT = (-10.0, 8.0)
"""Least and largest log variance, in ln px^2."""


class NothingSeen(ValueError):
    """Of a clip in which no object is seen there are no states."""


class TooManySeen(ValueError):
    """Of a clip in which more objects are seen than a readout has slots there are no states."""


class ObjectReadout(nn.Module):
    """Positions, half sizes, presence and uncertainty of up to N things in every frame.

    A frame is read by itself; slots carry a thing from frame to frame, in the order in which things are first
    seen, and from left to right where that is the same frame. What is read of a frame does not depend on
    later ones. Places, half sizes and presence have a gradient; how sure they are, and which slot a thing is
    in, have none.

    It knows no more than it was trained on. Metres follow from the camera, and from the assumption that
    middles lie in the vertical plane ``y = 0``, where all but a few scenes play.

    Args:
        slots: N.
        widths: Features at 1/2, 1/4 and 1/8 of the resolution.
        size: Rows and columns at which it reads: frames of another size are resized to them, and what is
            read is said in their own pixels.
        codec: Mark of the codec whose decoded noise it has learned to read; "" of none.
    """

    def __init__(
        self,
        slots: int = 2,
        widths: tuple[int, int, int] = (24, 40, 56),
        size: int = 64,
        codec: str = "",
    ) -> None:
        super().__init__()
        if not 1 <= slots <= 4 or size % 8:
            raise ValueError(
                f"ObjectReadout.slots must be 1 to 4, and size a multiple of 8; got {slots} and {size}."
            )
        if len(widths) != 3 or any(width % 8 for width in widths):
            raise ValueError(f"ObjectReadout.widths must be three multiples of 8; got {list(widths)}.")
        self.slots, self.widths, self.size, self.codec = slots, tuple(widths), size, codec
        fine, middle, coarse = widths
        self.stem = nn.Conv2d(3 * _CELL**2, fine, 3, padding=1)
        self.fine = _Block(fine)
        self.to_middle = nn.Conv2d(fine, middle, 2, stride=2)
        self.middle = _Block(middle)
        self.to_coarse = nn.Conv2d(middle, coarse, 2, stride=2)
        self.coarse = nn.Sequential(_Block(coarse), _Block(coarse))
        self.from_coarse = nn.Conv2d(coarse, 4 * middle, 1)
        self.middle_again = _Block(middle)
        self.from_middle = nn.Conv2d(middle, 4 * fine, 1)
        self.fine_again = nn.Sequential(_Block(fine), _Block(fine))
        self.answer = nn.Conv2d(fine, 5, 1)
        self.doubt = nn.Sequential(
            nn.Conv2d(fine, fine, 3, padding=1), nn.SiLU(), nn.Conv2d(fine, fine, 1), nn.SiLU(),
            nn.Conv2d(fine, 1, 1),
        )  # fmt: skip

    def forward(self, clip: Clip) -> tuple[Trajectory, Float[Tensor, "B T N"]]:
        """The states of a clip, and the standard deviation in m of each coordinate in the plane.

        Rotation and spin are not read; mass is 0, which says that it is unknown.

        Raises:
            NothingSeen: A clip in which nothing is seen.
            TooManySeen: A clip in which more things are seen than there are slots, in most frames.
            ValueError: Frames that are not square, no camera, a camera that does not look at the plane.
        """
        reading = self.look(clip.frames)
        seen = reading.presence > 0.5
        empty = (~seen.flatten(1).any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise NothingSeen(
                f"An object must be seen to be read; in clip {empty[0]} of {len(clip)} there is none. "
                "Leave it out, or train a readout on such clips."
            )
        crowded = (reading.beyond > 0.5).float().mean(dim=1) > 0.5
        if crowded.any():
            raise TooManySeen(
                f"This readout has {self.slots} slots; in clip {int(crowded.nonzero()[0])} of {len(clip)} "
                "more objects are seen in most frames. Train one with more: model.readout.slots."
            )
        if clip.camera is None:
            raise ValueError("A readout needs Clip.camera to say metres, and the clip has none.")
        return to_world(reading, clip.camera, clip.fps, clip.frames.shape[-1])

    def look(self, frames: Float[Tensor, "B T 3 H W"]) -> SlotReading:
        """What is seen, in pixels of these frames. Never refuses what is in them: presence says it.

        Raises:
            ValueError: Frames that are not square.
        """
        batch, _, _, height, width = frames.shape
        if height != width:
            raise ValueError(f"A readout reads square frames; got {height} x {width}. Crop them.")
        images, scale = frames.flatten(0, 1), width / self.size
        if width != self.size:
            resized = F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
            images = resized.clamp(0, 1)
        read = follow(spot(self.maps(images), self.slots + 1), batch, self.slots)
        return read.scaled(scale)

    def maps(self, frames: Float[Tensor, "n 3 H W"]) -> Maps:
        """What every cell of every frame votes for."""
        cells = F.pixel_unshuffle(frames * 2 - 1, _CELL)
        fine = self.fine(self.stem(cells))
        middle = self.middle(self.to_middle(fine))
        coarse = self.coarse(self.to_coarse(middle))
        middle = self.middle_again(middle + F.pixel_shuffle(self.from_coarse(coarse), 2))
        fine = self.fine_again(fine + F.pixel_shuffle(self.from_middle(middle), 2))
        answer = self.answer(fine).flatten(2)  # (n, 5, cells)
        # How sure it is must not change what is seen: outliers would lead the whole network.
        doubt = self.doubt(fine.detach()).flatten(1)
        rows, columns = (torch.arange(length, device=frames.device) for length in cells.shape[-2:])
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
        place = grid.to(frames) * _CELL + (_CELL - 1) / 2
        return Maps(
            place=place,
            presence=answer[:, 0] - 3,
            vote=place + 4 * answer[:, 1:3].transpose(1, 2),
            weight=answer[:, 3],
            log_size=answer[:, 4] / 2 + math.log(_SIZE),
            log_variance=doubt.clamp(*_DOUBT),
            color=F.avg_pool2d(frames, _CELL).flatten(2).transpose(1, 2),
        )

    def require_codec(self, codec: str) -> None:
        """Raise ValueError where the decoded noise of another codec is to be read."""
        if self.codec != codec:
            raise ValueError(
                f"This readout learned to read what the codec {self.codec or 'of none'} decodes; got "
                f"{codec}. Train one with `worldgen pretrain readout` and your generator."
            )

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and, in half precision, `model.safetensors`."""
        config = {"slots": self.slots, "widths": self.widths, "size": self.size, "codec": self.codec}
        save_part(self, config, folder)


def load_readout(checkpoint: str) -> ObjectReadout:
    """A trained readout from its folder, frozen.

    Args:
        checkpoint: Folder with `config.json` and `model.safetensors`, as `ObjectReadout.save` writes them.

    Raises:
        FileNotFoundError: If the folder has no readout, or half of one.
        ValueError: If the files are of something else.
    """
    readout = load_part(checkpoint, "readout", "worldgen pretrain readout", _make_readout)
    return readout.requires_grad_(False).eval()


def _make_readout(config: dict[str, Any]) -> ObjectReadout:
    return ObjectReadout(**{**config, "widths": tuple(config["widths"])})


class _Block(nn.Module):
    """Two 3 x 3 convolutions with a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(width // 8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(width // 8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x)
