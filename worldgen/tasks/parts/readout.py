"""Training a readout of object states on simulated truth: clean frames, and a generator's estimates."""

from __future__ import annotations

import hashlib
import inspect
import zlib
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldgen.data.cache.cache import Recipe, precompute, stack_columns
from worldgen.data.cache.precision import Columns
from worldgen.diffusion.average import WeightAverage
from worldgen.encoders.base import fingerprint
from worldgen.model import WorldModel
from worldgen.physics.readout import ObjectReadout
from worldgen.physics.slots import Maps, gather_votes, spot
from worldgen.tasks.averaging import AveragedTask
from worldgen.tasks.parts import reading_errors
from worldgen.tasks.parts.reading_errors import ReadingErrors, reading_errors_of, true_places
from worldgen.tasks.schedule import require_training, scheduled, step_generator
from worldgen.types import Clip

SEEN = 0.25
"""Share of a thing's pixels from which on it must be read."""
NOISE = (0.3, 0.7)
"""Noise levels of validation."""
_SHARP = 0.2
"""Pixels: an error weighs this much over the standard deviation that is told, and a quarter of it."""
_FREEDOM = 8.0
"""Degrees of freedom of Student's distribution of errors: a few are far off, and say little of the others."""
_GRAIN = 0.004
"""Standard deviation of the noise that is added to clean frames: one of 255 steps."""


class ReadoutTask(AveragedTask):
    """Where things are, by the votes of cells; and the likelihood of an honest uncertainty.

    ``loss = cells + w |p' - p| + |ln r' - ln r| + likelihood * (5 ln(1 + |p' - p|^2 / (8 sd^2)) + 2 ln sd)``
    of what is seen: presence (cross-entropy) and votes of the cells, place and half size by the votes that
    agree, and the likelihood of ``sd`` alone, with Student's tails. It is taken near each thing, and of what
    the readout finds by itself, matched to the things with the least cost. Errors weigh
    ``w = .2 px / (sd + .05 px)``, a constant.

    A share of the frames is what a generator makes of the clip at a noise level drawn evenly: its estimate of
    the clean latent, decoded. That is made once, and kept.

    Args:
        readout: The network to train.
        generator: Whose estimates it shall read; `worldgen.runs.folder.open_run` opens it from its folder.
            None trains on clean frames alone.
        share: Of the frames that are estimates.
        frames: Of each clip in a step.
        lr: Peak of AdamW's rate; warmed up, and brought to zero over the last 40 %.
        warmup: Steps.
        likelihood: Its weight.
        average: Decay of the moving average of weights, which is what validates and ships.
        seed: Of everything that training draws.
        cache: Folder for what is read of the training clips.
    """

    def __init__(
        self,
        readout: ObjectReadout,
        generator: WorldModel | None = None,
        share: float = 0.4,
        frames: int = 2,
        lr: float = 3e-3,
        warmup: int = 50,
        likelihood: float = 1.0,
        average: float = 0.99,
        seed: int = 0,
        cache: Path = Path("outputs/cache"),
    ) -> None:
        super().__init__()
        require_training(lr, warmup)
        if not 0 <= share <= 1 or frames < 1 or not likelihood >= 0:
            raise ValueError(
                "model.share must be in [0, 1], model.frames at least 1, and model.likelihood at least 0; "
                f"got {share}, {frames} and {likelihood}."
            )
        self.readout = readout
        self.generator = None if generator is None else generator.requires_grad_(False).eval()
        if self.generator is not None:
            readout.codec = fingerprint(self.generator.codec)
        self.average = WeightAverage(readout.parameters(), average)
        self.share = share if generator is not None else 0.0
        self.lr, self.warmup, self.likelihood = lr, warmup, likelihood
        self.frames, self.seed, self.cache = frames, seed, cache

    def train(self, mode: bool = True) -> ReadoutTask:
        """The generator stays in evaluation mode."""
        super().train(mode)
        if self.generator is not None:
            self.generator.eval()
        return self

    # ---------------------------------------------------------------- training

    def setup(self, stage: str) -> None:
        """Run the generator over the training clips once."""
        if stage != "fit":
            return
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        source = data.train_source(skip=("depth", "scene"))
        kept = precompute(source, self.encode, self.cache / "readout", self.recipe())
        data.train_on(kept, stack_columns)

    def recipe(self) -> Recipe:
        """All that the kept columns depend on."""
        weights = {} if self.generator is None else {"generator": fingerprint(self.generator)}
        return Recipe(weights, {"slots": str(self.readout.slots), "code": _CODE.hexdigest()[:12]})

    @torch.no_grad()
    def encode(self, clip: Clip) -> Columns:
        """Frames, places, half sizes and seen shares of the slots' things; estimates, where there are any.

        Raises:
            ValueError: More things than slots.
        """
        pixels, half_size, share, _ = true_places(clip)
        missing = self.readout.slots - pixels.shape[2]
        if missing < 0:
            raise ValueError(
                f"model.readout has {self.readout.slots} slots, and a clip of data.train {pixels.shape[2]} "
                "objects. Raise model.readout.slots, or leave such clips out."
            )
        columns = (
            _bytes(clip.frames),
            F.pad(pixels, (0, 0, 0, missing)),
            F.pad(half_size, (0, missing), value=1.0),
            F.pad(share, (0, missing)),
        )
        if self.generator is None:
            return columns
        marks = [zlib.crc32(_bytes(frames).cpu().numpy().tobytes()) for frames in clip.frames]
        draws = [torch.Generator().manual_seed(mark) for mark in marks]
        sigma = torch.cat([torch.rand(1, generator=draw) for draw in draws])
        return (*columns, _bytes(estimate_frames(self.generator, clip, sigma, draws)))

    def training_step(self, batch: Columns, index: int) -> Float[Tensor, ""]:
        generator = step_generator(self, self.seed, index)
        frames, pixels, half_size, share = _augmented(batch, self.frames, self.share, generator)
        maps = self.readout.maps(frames)
        parts = {
            **_cell_losses(maps, pixels, half_size, share >= SEEN),
            **_thing_losses(maps, pixels, half_size, share >= SEEN, generator),
        }
        likelihood = parts.pop("likelihood") + 0.3 * _found_loss(maps, pixels, share >= SEEN)
        loss = torch.stack([*parts.values()]).sum() + self.likelihood * likelihood
        self.log("train/loss", loss, prog_bar=True, batch_size=len(frames))
        self.log("train/px", parts["px"], prog_bar=True, batch_size=len(frames))
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(
            self.readout.parameters(), lr=self.lr, betas=(0.9, 0.99), weight_decay=1e-4
        )
        return scheduled(optimizer, self.warmup, self.trainer)

    # ---------------------------------------------------------------- validation

    @torch.no_grad()
    def validation_step(self, clip: Clip, index: int) -> None:
        """Errors of reading, of true frames and of the generator's estimates at fixed noise."""
        with self.average.applied():
            self._tell("val/", reading_errors_of(self.readout.look(clip.frames), clip))
            for level in NOISE if self.generator is not None else ():
                assert self.generator is not None
                draws = [torch.Generator().manual_seed(index * 1000 + row) for row in range(len(clip))]
                frames = estimate_frames(self.generator, clip, torch.full((len(clip),), level), draws)
                self._tell(f"val/sigma{level:g}_", reading_errors_of(self.readout.look(frames), clip))

    def _tell(self, prefix: str, errors: ReadingErrors) -> None:
        told = errors.where(errors.share >= SEEN)
        told |= {"spurious": float(errors.spurious.mean()), "switches": float(errors.switches.mean())}
        count = int(told.pop("things"))
        for name, value in told.items():
            shown = prefix == "val/" and name == "median_px"
            self.log(prefix + name, value, prog_bar=shown, batch_size=max(1, count))

    # ---------------------------------------------------------------- files

    def on_fit_end(self) -> None:
        """Export the averaged readout."""
        if self.trainer.log_dir and self.trainer.is_global_zero:
            with self.average.applied():
                self.readout.save(Path(self.trainer.log_dir) / "readout")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The generator is kept by name, not by value."""
        kept = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {n: v for n, v in kept if not n.startswith("generator.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The generator is that of the config."""
        checkpoint["state_dict"] = {**self.state_dict(), **checkpoint["state_dict"]}


@torch.no_grad()
def estimate_frames(
    model: WorldModel, clip: Clip, sigma: Float[Tensor, " B"], draws: list[torch.Generator]
) -> Float[Tensor, "B T 3 H W"]:
    """A generator's estimate of a clip at given noise levels, with the longest context known, decoded.

    ``x = x_sigma - sigma v(x_sigma)``; at level 0 what the codec makes of the clip.

    Args:
        model: The generator.
        clip: The truth.
        sigma: Noise levels in [0, 1].
        draws: A generator of random numbers for each clip.
    """
    latents = model.encode(clip)
    which = torch.full((len(clip),), len(model.contexts) - 1, device=model.device)
    eps = torch.cat([torch.randn(latents.z[:1].shape, generator=draw) for draw in draws]).to(latents.z)
    sigma, keep = sigma.to(eps), torch.ones(len(clip), 1, dtype=torch.bool, device=model.device)
    output = model.predict(latents, which, sigma, eps, keep)
    still = latents.still[:, -1]
    x = (latents.z - still) / model.latent_std
    noisy, level = model.process.corrupt(x, eps, sigma), sigma[:, None, None, None, None]
    clean = torch.where(level > 0, noisy - level * model.process.velocity(output, noisy, sigma), x)
    return model.codec.decode(clean * model.latent_std + still, clip).clamp(0, 1)


_CODE = hashlib.sha256((inspect.getsource(reading_errors) + inspect.getsource(estimate_frames)).encode())
"""What was computed once by other code is computed again."""


def _bytes(frames: Tensor) -> Tensor:
    return (frames * 255).round().byte()


def _augmented(
    batch: Columns, count: int, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Some frames of each clip: mirrored, with colors exchanged, grainy; a share of them estimates."""
    clips, time = batch[0].shape[:2]
    device = batch[0].device
    row = torch.arange(clips, device=device).repeat_interleave(count)
    frame = torch.randint(time, (clips * count,), generator=generator, device=device)
    clean, pixels, half_size, seen = (column[row, frame] for column in batch[:4])
    frames, draw = clean.float() / 255, torch.rand(3, len(row), generator=generator, device=device)
    frames = frames + _GRAIN * torch.randn(frames.shape, generator=generator, device=device)
    if share:
        estimate = batch[4][row, frame].float() / 255
        frames = torch.where((draw[0] < share)[:, None, None, None], estimate, frames)
    mirrored = draw[1] < 0.5
    frames = torch.where(mirrored[:, None, None, None], frames.flip(-1), frames)
    x = torch.where(mirrored[:, None], frames.shape[-1] - 1 - pixels[..., 0], pixels[..., 0])
    orders = torch.tensor([*permutations(range(3))], device=device)[(draw[2] * 6).long()]
    frames = frames.gather(1, orders[:, :, None, None].expand_as(frames))
    return frames.clamp(0, 1), torch.stack([x, pixels[..., 1]], dim=-1), half_size, seen


def _cell_losses(maps: Maps, pixels: Tensor, half_size: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Whether a cell is near a middle, and where its vote goes if it is on a thing."""
    away = (maps.place - pixels[:, :, None]).norm(dim=-1)  # (n, N, cells)
    near = ((away < (half_size[..., None] / 2).clamp(min=2)) & seen[..., None]).any(dim=1)
    presence = F.binary_cross_entropy_with_logits(maps.presence, near.float(), reduction="none")
    on = (away < 1.1 * half_size[..., None]) & seen[..., None]
    off = (maps.vote[:, None] - pixels[:, :, None]).norm(dim=-1)
    votes = F.smooth_l1_loss(off, torch.zeros_like(off), reduction="none") * on
    return {"presence": presence.sum(dim=1).mean() / 10, "votes": votes.sum() / on.sum().clamp(min=1)}


def _thing_losses(
    maps: Maps, pixels: Tensor, half_size: Tensor, seen: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """What the votes that agree with a cell near each thing say of it."""
    away = (maps.place - pixels[:, :, None]).norm(dim=-1)
    far = away >= (half_size[..., None] / 2).clamp(min=2)
    stray = 4 * torch.rand(away.shape, generator=generator, device=away.device)
    nearest = (away + stray + 1e6 * far).argmin(dim=-1)
    anchor = maps.vote.gather(1, nearest[..., None].expand(-1, -1, 2)).detach()
    place, log_size, log_variance, _ = gather_votes(maps, anchor)
    square, count = (place - pixels).square().sum(dim=-1), seen.sum().clamp(min=1)
    deviation = (log_variance.detach() / 2).exp()
    # What cannot be known must not drown what can be read to a hundredth of a pixel.
    weight = seen * _SHARP / (deviation + _SHARP / 4)
    return {
        "px": ((square + 1e-4).sqrt() * weight).sum() / count,
        "size": ((log_size - half_size.log()).abs() * seen).sum() / count,
        "likelihood": (_likelihood(square, log_variance) * seen).sum() / count,
    }


def _found_loss(maps: Maps, pixels: Tensor, seen: Tensor) -> Tensor:
    """Likelihood of what is found without being told where to look: there the doubt must be honest."""
    sights = spot(maps, pixels.shape[1])
    square = (sights.pixels[:, :, None] - pixels[:, None]).square().sum(dim=-1)  # (n, found, N)
    cost = square + 1e4 * ~seen[:, None]
    count = pixels.shape[1]
    orders = torch.tensor([*permutations(range(count))], device=cost.device)
    total = cost[:, torch.arange(count, device=cost.device), orders].sum(dim=-1)  # (n, orders)
    own = orders[total.argmin(dim=1)]
    square = square.gather(2, own[..., None])[..., 0]
    told = seen.gather(1, own)
    loss = _likelihood(square, sights.log_variance) * told
    return loss.sum() / told.sum().clamp(min=1)


def _likelihood(square: Tensor, log_variance: Tensor) -> Tensor:
    """Of a distance in the plane, with tails (Student's); what moves is the variance alone."""
    scaled = square.detach() * (-log_variance).exp()
    return (_FREEDOM / 2 + 1) * torch.log1p(scaled / _FREEDOM) + log_variance
