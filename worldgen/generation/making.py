"""Frames out of a generator: known frames laid, noise sampled, window after window where the clip is long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.denoisers.base import Residuals
from worldgen.diffusion.known import Known, known_mask
from worldgen.diffusion.sampler import Start
from worldgen.encoders.base import Placed
from worldgen.generation.layout import Frame, KnownLayout, Reader
from worldgen.generation.request import Request
from worldgen.model import Lead, WorldModel
from worldgen.types import Clip

Beat = Callable[[Callable[[], Float[Tensor, "B T 3 H W"]]], None]
"""Called after each step of the sampler; its argument decodes the window as it is by then."""


@dataclass(frozen=True)
class Edited:
    """A video that is made anew, and where it stays."""

    frames: Float[Tensor, "T 3 H W"]
    kept: Float[Tensor, "1 H W"]
    """1 where its pixels stay as they are."""
    strength: float


@dataclass(frozen=True)
class Maker:
    """A generator, with what all clips of a request have in common.

    Args:
        model: With the sampler that is asked for.
        frame: Shape of the result.
        layout: Known frames.
        negative: Text to be led away from.
        residuals: Of controls.
        edited: Video to edit.
        window: Frames of a window of clips that are longer.
        overlap: Frames that a window knows of the one before.
        lead: Of physics; see `WorldModel.sample_known`.
        keyframes: Frames, a window less one apart, that are made first, and then those between each two
            (Blattmann et al. 2023, 2304.08818, section 3.2); window after window when None.
        context_noise: Level of noise through which a window reads the frames of the one before.
    """

    model: WorldModel
    frame: Frame
    layout: KnownLayout
    negative: str | None
    residuals: Residuals | None
    edited: Edited | None
    window: int
    overlap: int
    lead: Lead | None = None
    keyframes: int | None = None
    context_noise: float = 0.0

    @property
    def windows(self) -> int:
        """How many windows a clip is made of."""
        if self.keyframes is not None:
            return self.keyframes  # all of them in one, and one between each two
        rest = self.frame.frames - self.window
        return 1 if rest <= 0 else 1 + -(-rest // (self.window - self.overlap))

    @torch.no_grad()
    def make(
        self, prompts: Sequence[str], seeds: Sequence[int], beat: Beat
    ) -> Iterator[Float[Tensor, "B t 3 H W"]]:
        """Frames of clips, one for each prompt, window after window; memory of one window only.

        Args:
            prompts: Of the clips.
            seeds: Of each clip's noise; each window draws from its own.
            beat: Called after each step of the sampler.
        """
        if self.keyframes is not None:
            yield from self._between_keyframes(self.keyframes, prompts, seeds, beat)
            return
        frame = replace(self.frame, frames=min(self.frame.frames, self.window))
        clip = self.layout.clip(frame, prompts)
        made = self._window(Known.of(clip, self.layout.places, frame.frames), seeds, beat)
        lead, end = self.layout.cut
        yield made[:, lead : made.shape[1] - end]
        done = frame.frames
        for index in range(1, self.windows):
            held = made[:, -self.overlap :]
            gray = torch.full_like(made[:, self.overlap :], 0.5)
            clip = Clip(torch.cat([held, gray], dim=1), clip.fps, clip.prompts)
            known = replace(Known.of(clip, range(self.overlap), self.window), noise=self.context_noise)
            made = self._window(known, [seed + 1_000_003 * index for seed in seeds], beat)
            new = min(self.window - self.overlap, self.frame.frames - done)
            yield made[:, self.overlap : self.overlap + new]
            done += new

    def _between_keyframes(
        self, count: int, prompts: Sequence[str], seeds: Sequence[int], beat: Beat
    ) -> Iterator[Float[Tensor, "B t 3 H W"]]:
        """Keyframes as one window of few frames, then each window between two of them; memory of both."""
        clip = self.layout.clip(replace(self.frame, frames=self.window), prompts)
        gray = torch.full_like(clip.frames[:, :1], 0.5)
        stride = self.model.codec.temporal_stride
        rest = -(-(count - 1) // stride) * stride  # as many as the codec takes; those beyond are left out
        first = replace(clip, frames=torch.cat([clip.frames[:, :1], gray.repeat(1, rest, 1, 1, 1)], dim=1))
        keys = self._window(Known.of(first, self.layout.places[:1], 1 + rest), seeds, beat)
        places: tuple[int, ...] = self.layout.places or (0,)
        for index in range(count - 1):
            frames = clip.frames if index == 0 else gray.repeat(1, self.window, 1, 1, 1)
            frames = torch.cat([keys[:, index, None], frames[:, 1:-1], keys[:, index + 1, None]], dim=1)
            known = Known.of(replace(clip, frames=frames), (*places, self.window - 1), self.window)
            made = self._window(known, [seed + 1_000_003 * (index + 1) for seed in seeds], beat)
            yield made if index == 0 else made[:, 1:]
            places = (0,)

    def _window(self, known: Known, seeds: Sequence[int], beat: Beat) -> Float[Tensor, "B T 3 H W"]:
        model, z = self.model, torch.empty(0)
        known = replace(known, clip=_moved(known.clip, model))
        start, shown = self._start(known)
        slots = model.encode_condition(shown.clip)
        away = self._away(shown.clip)

        def decode() -> Float[Tensor, "B T 3 H W"]:
            made = known.put(model.decode_known(z, shown).frames)
            if self.edited is not None:
                kept = self.edited.kept.to(made)
                made = torch.lerp(made, self.edited.frames.to(made).expand_as(made), kept)
            return made.cpu()

        walk = model.sample_known(shown, list(seeds), slots, self.residuals, away, start, self.lead)
        for z in walk:  # noqa: B007 decoded
            beat(decode)
        return decode()

    def _away(self, clip: Clip) -> tuple[Placed, ...] | None:
        if self.negative is None:
            return None
        return self.model.encode_condition(replace(clip, prompts=(self.negative,) * len(clip)))

    def _start(self, known: Known) -> tuple[Start | None, Known]:
        """Where sampling begins, and what the denoiser is told is known.

        Of frames that the run was not trained to know, those in front are told, and the steps of the latent
        with the others are kept on their path.
        """
        codec, clip = self.model.codec, known.clip
        frames = clip.frames.shape[1]
        if self.edited is not None:
            video = Clip(self.edited.frames.to(clip.frames).expand_as(clip.frames), clip.fps, clip.prompts)
            z = codec.encode(video)
            cells = torch.nn.functional.adaptive_avg_pool2d(
                self.edited.kept[None], (z.shape[-2], z.shape[-1])
            )
            kept = (cells == 1).to(z).expand(len(z), z.shape[1], 1, -1, -1)
            return Start(z, kept, self.edited.strength), known
        if is_trained(self.model, known.places, frames):
            return None, known
        told = max(count for count in self.model.contexts if count <= known.leads)
        mask = known_mask(codec, known.places, frames).any(dim=1)
        kept = mask.to(clip.frames)[None, :, None, None, None]
        z = codec.encode(clip)
        return Start(z, kept.expand(len(z), -1, 1, *z.shape[-2:])), Known.of(clip, range(told), frames)


def read_edited(request: Request, reader: Reader) -> Edited | None:
    """The video that a request edits, and what of it stays; None where it edits none.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A strength beyond [0, 1]; a video or a picture of another size, or too short a video.
    """
    path, frame = request.edit.edit, reader.frame
    if path is None:
        return None
    if not 0 <= request.edit.strength <= 1:
        raise ValueError(f"The strength of an edit must lie in [0, 1]; got {request.edit.strength:g}.")
    rows, columns = reader.size_of(path)
    if rows % frame.height or columns % frame.width or rows * frame.width != columns * frame.height:
        raise ValueError(
            f"--edit must have frames of {frame.height} x {frame.width}, or a whole multiple; {path} has "
            f"{rows} x {columns}. Resize it."
        )
    frames = reader.first(path, frame.frames)
    if len(frames) < frame.frames:
        raise ValueError(
            f"--edit must have {frame.frames} frames; {path} has {len(frames)}. Ask for fewer --frames."
        )
    kept = torch.zeros(1, frame.height, frame.width)
    if request.edit.keep is not None:
        size = reader.size_of(request.edit.keep)
        if size != (rows, columns):
            raise ValueError(
                f"--keep must be a picture of the video's {rows} x {columns} pixels; {request.edit.keep} has "
                f"{size[0]} x {size[1]}."
            )
        kept = (reader.first(request.edit.keep, 1)[0].mean(dim=0, keepdim=True) > 0.5).float()
    return Edited(frames, kept, request.edit.strength)


def is_trained(model: WorldModel, places: Sequence[int], frames: int) -> bool:
    """Whether a run learned to make a clip of which these frames are known."""
    if tuple(places) in model.choices(frames):
        return True
    return bool(places) and model.other_contexts is not None and model.other_contexts.random > 0


def require_context(model: WorldModel, places: Sequence[int], frames: int, run: str) -> str | None:
    """What to say where a run was not trained for what is known; None where it was.

    Raises:
        ValueError: It cannot be made at all: no first frame is known, and the run needs one.
    """
    if is_trained(model, places, frames):
        return None
    leads = next((n for n, place in enumerate(places) if n != place), len(places))
    numbers = " or ".join(map(str, model.contexts))
    if not any(count <= leads for count in model.contexts):
        raise ValueError(
            f"{run} was trained to go on from {numbers} first frames, and {leads} are given. Give "
            "--first-frames, or a run of configs/context_any.yaml."
        )
    return (
        f"{run} was trained to go on from {numbers} first frames, not for other known frames: those are only "
        "kept where they are, and what is made may not lead up to them. configs/context_any.yaml trains it."
    )


def require_noise(model: WorldModel, level: float, run: str, windows: bool) -> None:
    """Refuse noise on the frames of the window before where it would mean nothing.

    Raises:
        ValueError: The level is above those of the run's training, or below 0; there is no window before.
    """
    if level and not windows:
        raise ValueError(
            "--context-noise is of clips that are made window after window; ask for more --frames, without "
            "--keyframes, or leave it out."
        )
    if not 0 <= level <= model.context_noise:
        raise ValueError(
            f"--context-noise must be in 0 to the {model.context_noise:g} that {run} was trained with "
            f"(model.context_noise); got {level:g}."
        )


def _moved(clip: Clip, model: WorldModel) -> Clip:
    return replace(clip, frames=clip.frames.to(model.device), fps=clip.fps.to(model.device))
