"""Autoencoders of diffusers as codecs: their axes, lengths, scales and statistics stay inside."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.codec import Codec
from worldgen.hub import PUBLISHED, is_here, only_sizes, require_hub
from worldgen.parts import CONFIG_FILE
from worldgen.types import Clip

_PROBE = (9, 64)
"""Frames and pixels of the clip that shows a network's strides: up to 8 frames, up to 64 pixels."""


class DiffusersCodec(Codec):
    """Any autoencoder of diffusers: of videos (Wan, LTX, CogVideoX, ...) or frame by frame (SD, FLUX, tiny).

    What the network makes of a small clip says how many channels, pixels and frames a latent cell has. Its
    statistics are those of its own config or buffers: ``scaling_factor``, ``shift_factor``, ``latents_mean``
    and ``latents_std``, or those of FLUX.2's batch norm, over cells of 2 x 2. A clip of any length is coded:
    its last frame is repeated to the end of its last latent step, and cut off again where the context has the
    clip's length. The latent is the posterior's mean.

    Args:
        checkpoint: Folder with ``config.json`` and weights as diffusers writes them, or hub id.
        subfolder: Of the checkpoint, ``vae`` where it is that of a whole pipeline.
        tile: Side in pixels of tiles that are coded one by one, as diffusers does it, with a quarter of
            overlap; whole frames when None. Tiles change nothing farther from a seam than a network looks,
            and everything a little where it has norms or attention over the picture.

    Raises:
        OSError: Not there, and the hub cannot be reached.
        ValueError: Not an autoencoder, not whole, of lengths that are not 1 + s n, or without tiles.
    """

    shift: Tensor
    """Mean of each channel before it is normalized."""
    spread: Tensor
    """Standard deviation of each channel before it is normalized."""
    _in_pairs: bool = False
    """CogVideoX's decoder takes steps in twos, and the first one alone only where their number is odd."""

    def __init__(self, checkpoint: str, subfolder: str | None = None, tile: int | None = None) -> None:
        super().__init__()
        self.network = _open(checkpoint, subfolder)
        self.requires_grad_(False).eval()
        self._of_videos = any(isinstance(part, nn.Conv3d) for part in self.network.encoder.modules())
        self.reach = None if self._of_videos else 0
        # SVD's decoder looks across frames; the signature of `decode` itself is hidden by a wrapper.
        self._across = "num_frames" in inspect.signature(self.network.decoder.forward).parameters
        # FLUX.2 normalizes cells of 2 x 2, and its latents are those.
        self._fold = 2 if isinstance(getattr(self.network, "bn", None), nn.BatchNorm2d) else 1
        self._probe(checkpoint)
        shift, spread = _statistics(self.network, self.channels, checkpoint)
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("spread", spread, persistent=False)
        self.tile = tile
        if tile is not None:
            self._use_tiles(tile)

    def train(self, mode: bool = True) -> DiffusersCodec:
        """A frozen codec stays in evaluation mode."""
        return super().train(False)

    def steps(self, frames: int) -> int:
        """Latent steps of a clip of any length."""
        return 1 + -(-(frames - 1) // self.temporal_stride)

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the latent of such frames."""
        return rows // self.cell, columns // self.cell

    def encode(self, clip: Clip) -> Float[Tensor, "B L C h w"]:
        """Raises ValueError if the frames do not divide into the codec's cells."""
        frames, (height, width) = clip.frames, clip.frames.shape[-2:]
        if height % self.cell or width % self.cell:
            raise ValueError(
                f"Frames must be multiples of {self.cell} pixels for {type(self.network).__name__}; got "
                f"{height} x {width}. Resize them first."
            )
        missing = 1 + (self.steps(frames.shape[1]) - 1) * self.temporal_stride - frames.shape[1]
        frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        z = self._encode(frames * 2 - 1)
        return (z - self.shift[:, None, None]) / self.spread[:, None, None]

    def decode(self, z: Float[Tensor, "B L C h w"], context: Clip) -> Float[Tensor, "B T 3 H W"]:
        """Frames of a latent: as many as ``context`` has where that has as many steps, else whole steps."""
        frames = (self._decode(z * self.spread[:, None, None] + self.shift[:, None, None]) + 1) / 2
        given = context.frames.shape[1]
        whole = 1 + (z.shape[1] - 1) * self.temporal_stride
        return frames[:, : given if self.steps(given) == z.shape[1] else whole].clamp(0, 1)

    # ---------------------------------------------------------------- the network's own axes and scale

    def _encode(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B L C h w"]:
        batch = len(frames)
        if self._of_videos:
            z = _latent(self.network.encode(frames.transpose(1, 2))).transpose(1, 2)
        else:
            z = _latent(self.network.encode(frames.flatten(0, 1))).unflatten(0, (batch, -1))
        return F.pixel_unshuffle(z, self._fold)

    def _decode(self, z: Float[Tensor, "B L C h w"]) -> Float[Tensor, "B T 3 H W"]:
        """Of the frames of the last step, some may be too many."""
        batch, steps = z.shape[:2]
        z = F.pixel_shuffle(z, self._fold)
        if not self._of_videos:
            more = {"num_frames": steps} if self._across else {}
            return self.network.decode(z.flatten(0, 1), **more).sample.unflatten(0, (batch, steps))
        # The time of LTX's decoder, which may denoise: none is left.
        more = {"temb": z.new_zeros(batch)} if self.network.config.get("timestep_conditioning") else {}
        if self._in_pairs and steps % 2 == 0:
            z = torch.cat([z, z[:, -1:]], dim=1)
        return self.network.decode(z.transpose(1, 2), **more).sample.transpose(1, 2)

    @torch.no_grad()
    def _probe(self, checkpoint: str) -> None:
        """Set channels, cell and stride, by what the network makes of a small clip."""
        frames, pixels = _PROBE
        name = f"{type(self.network).__name__} of {checkpoint}"
        try:
            still = torch.zeros(1, frames, 3, pixels, pixels)
            z, first = self._encode(still), self._encode(still[:, :1])
            self.channels, self.cell = z.shape[2], pixels // z.shape[-1]
            self.temporal_stride = (frames - 1) // max(1, z.shape[1] - 1)
            back = self._decode(z)
            found = f"makes {tuple(z.shape[1:])} and {tuple(back.shape[1:])} of {frames} frames"
            whole = first.shape[1] == 1 and self.steps(frames) == z.shape[1] and back.shape == still.shape
            self._in_pairs = self._decode(z[:, :2]).shape[1] > 1 + self.temporal_stride
        except Exception as error:  # diffusers has errors of many kinds for this
            whole, found = False, f"stops with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if not whole:
            raise ValueError(
                "An autoencoder must make 1 + n latent steps of 1 + s n RGB frames, and those frames again; "
                f"{name} {found.rstrip('.')}. Take another one."
            )

    def _use_tiles(self, tile: int) -> None:
        """Set diffusers' own tiles, by the names that its classes have for them."""
        network: Any = self.network
        least = 4 * self.cell
        if tile % least or tile < least:
            raise ValueError(
                f"{type(network).__name__}'s tile must be a multiple of {least} pixels; got {tile}."
            )
        try:
            network.enable_tiling()
        except (AttributeError, NotImplementedError):
            raise ValueError(f"{type(network).__name__} has no tiles. Leave tile out.") from None
        cell = self.cell // self._fold
        stride, latent = tile * 3 // 4, tile // cell
        values = {"tile_sample_min": tile, "tile_sample_stride": stride, "tile_latent_min": latent}
        for start, value in values.items():
            for end in ("size", "height", "width"):
                if hasattr(network, f"{start}_{end}"):
                    setattr(network, f"{start}_{end}", value)
        for name in ("tile_overlap_factor", "tile_overlap_factor_height", "tile_overlap_factor_width"):
            if hasattr(network, name):
                setattr(network, name, 0.25)


def _open(checkpoint: str, subfolder: str | None) -> Any:
    """The network of a checkpoint, with all of its weights."""
    import diffusers

    if only_sizes() and not is_here(checkpoint) and checkpoint in PUBLISHED:
        return getattr(diffusers, PUBLISHED[checkpoint].kind)(**PUBLISHED[checkpoint].config)
    folder = Path(checkpoint).expanduser() / (subfolder or "")
    if folder.is_dir():
        if not (folder / CONFIG_FILE).is_file():
            raise FileNotFoundError(
                f"An autoencoder's folder must hold {CONFIG_FILE} and weights; {folder} has no "
                f"{CONFIG_FILE}. Name the folder that has it, or its `subfolder`."
            )
    else:
        require_hub(checkpoint)
    try:
        config: Any = diffusers.AutoencoderKL.load_config(checkpoint, subfolder=subfolder or "")
        kind = getattr(diffusers, str(config.get("_class_name")), None)
        if kind is None or not all(hasattr(kind, name) for name in ("encode", "decode", "from_pretrained")):
            raise ValueError(f"its class is {config.get('_class_name')}")
        if only_sizes():
            return kind.from_config(config)
        network, told = kind.from_pretrained(
            checkpoint, subfolder=subfolder or "", output_loading_info=True, torch_dtype=torch.float32
        )
        wrong = [*told["missing_keys"], *told["unexpected_keys"]]
        if wrong:
            raise ValueError(f"{len(wrong)} tensors are missing or of another model, {min(wrong)} first")
    except Exception as error:  # of diffusers, safetensors, json, torch
        raise ValueError(
            f"{folder if folder.is_dir() else checkpoint} must be a whole autoencoder of diffusers; "
            f"{' '.join(str(error).split())[:300].rstrip('.')}. Copy or fetch it again."
        ) from error
    return network


def _latent(encoded: Any) -> Tensor:
    """The tensor in what an encoder returns: the mean of a posterior, or the latent itself."""
    if hasattr(encoded, "latent_dist"):
        return encoded.latent_dist.mode()
    return encoded.latents if hasattr(encoded, "latents") else encoded.latent


def _statistics(
    network: Any, channels: int, checkpoint: str
) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Mean and standard deviation of each channel, wherever a class of diffusers keeps them."""
    buffers, config = dict(network.named_buffers()), network.config
    if "bn.running_mean" in buffers:
        spread = (buffers["bn.running_var"] + config.get("batch_norm_eps", network.bn.eps)).sqrt()
        return buffers["bn.running_mean"].clone(), spread
    shift, spread = torch.zeros(channels), torch.ones(channels)
    for name in ("latents_mean", "latents_std"):
        given = config.get(name)
        found = buffers.get(name) if given is None else torch.tensor(given, dtype=torch.float32).flatten()
        if found is None:
            continue
        if len(found) != channels:
            raise ValueError(
                f"{name} of {checkpoint} must have a number for each of {channels} channels; it has "
                f"{len(found)}. {type(network).__name__} cannot be a codec here."
            )
        shift, spread = (found, spread) if name == "latents_mean" else (shift, found)
    if config.get("shift_factor"):
        shift = shift + config["shift_factor"]
    return shift.clone(), spread / (config.get("scaling_factor") or 1.0)
