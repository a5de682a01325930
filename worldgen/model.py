"""WorldModel: the file where encoders, denoiser and codec meet.

A clip's codec latent z is generated from its first frames and its condition. What is diffused is the *change
against a world that stands still* after the known frames, ``x = (z - z_still) / latent_std``: the background
is there from the start, and noise is spent on what moves. How things move lies beside it: the flow of the
last two known frames.

How it is trained is `worldgen.tasks.generator`; nothing here needs a trainer, a cache or a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.conditioning import SLOTS, Conditioner, require_slots
from worldgen.diffusion.codec import Codec
from worldgen.diffusion.context import hold, lay_on_steps
from worldgen.diffusion.denoisers.base import Denoiser, Residuals
from worldgen.diffusion.known import (
    Known,
    OtherContexts,
    choice_odds,
    choose_places,
    known_mask,
    read_through,
)
from worldgen.diffusion.process import Process
from worldgen.diffusion.sampler import Sampler, Start, Velocity, draw_noise
from worldgen.encoders.base import Placed, fingerprint
from worldgen.latents import Latents
from worldgen.physics.forecast import Forecast
from worldgen.types import Clip, Conditioning
from worldgen.weights import KeptWeights

Lead = Callable[[Velocity, Known, Float[Tensor, "B L C h w"]], Velocity]


class WorldModel(KeptWeights):
    """Generation of a video latent from noise, given first frames and a condition.

    Args:
        codec: Frozen; its latent is what is generated.
        conditioner: Frozen encoders, and the trained part that joins them.
        denoiser: Makes the network from (channels, context channels, condition width).
        process: Noise process and prediction target.
        sampler: How `generate` samples.
        contexts: Numbers of known first frames, and how often each is trained.
        forecast: Frozen; what is told of materials and of how the known frames go on. None tells nothing.
        other_contexts: Known frames other than first ones, and how often they are trained.
        context_noise: Level of noise on the known frames that is trained at most, each level told, so that
            sampling may trust frames of the model's own less.

    Raises:
        ValueError: The sampler's guidance names what is no slot, or asks what is without a slot that is never
            dropped; its scheduler begins with more noise than the process is trained with; a forecast, which
            goes on from first frames, and other contexts; a level of noise beyond [0, 1].
    """

    frozen = ("codec.", "forecast.", *(f"conditioner.{slot}." for slot in SLOTS))
    contexts: tuple[int, ...]
    """Numbers of first frames that are known, the first choices of context."""
    context_odds: Float[Tensor, " K"]
    """How often each choice of context is trained: of ``contexts``, and of others."""
    latent_std: Float[Tensor, ""]
    """Standard deviation of what is diffused, over the training clips."""

    def __init__(
        self,
        codec: Codec,
        conditioner: Conditioner,
        denoiser: Callable[[int, int, int], Denoiser],
        process: Process,
        sampler: Sampler,
        contexts: dict[int, float] = {1: 0.25, 2: 0.75},  # noqa: B006 never written to
        forecast: Forecast | None = None,
        other_contexts: OtherContexts | None = None,
        context_noise: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(sampler.guidance, dict):
            require_slots(sampler.guidance, "Sampler.guidance")
        conditioner.require_dropped(known for _, known in sampler.asked_slots(conditioner.present))
        sampler.require_process(process)
        self.codec = codec.requires_grad_(False)
        self.conditioner = conditioner
        self.forecast = None if forecast is None else forecast.requires_grad_(False)
        told = 0 if forecast is None else forecast.channels * codec.temporal_stride
        beside = codec.channels + 2 + codec.temporal_stride + told
        self.denoiser = denoiser(codec.channels, beside, conditioner.dim)
        self.process, self.sampler = process, sampler
        if forecast is not None and other_contexts is not None:
            raise ValueError("A forecast goes on from first frames; leave it or other_contexts out of model.")
        if not 0 <= context_noise <= 1:
            raise ValueError(f"context_noise must lie in [0, 1]; got {context_noise:g}.")
        self.context_noise = context_noise
        self.contexts, self.other_contexts = tuple(sorted(contexts)), other_contexts
        self.register_buffer("context_odds", torch.tensor(choice_odds(contexts, other_contexts)))
        self.register_buffer("latent_std", torch.ones(()))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.latent_std.device

    # ---------------------------------------------------------------- encoding

    @torch.no_grad()
    def encode(self, clip: Clip) -> Latents:
        """The frozen part of training; depends on nothing that is learned here."""
        frames = clip.frames.shape[1]
        known = [Known.of(clip, places, frames) for places in self.choices(frames)]
        still = torch.stack([one.still(self.codec) for one in known], dim=1)
        cells = (still.shape[-2], still.shape[-1])
        motion = torch.stack([one.motion(cells) for one in known], dim=1)
        counts = [len(one.places) for one in known]
        told = None if self.forecast is None else self.forecast.draw(clip, counts, frames, None, cells)
        forecast = None if told is None else lay_on_steps(self.codec, told)
        return Latents(self.codec.encode(clip), still, motion, self.encode_condition(clip), forecast)

    @torch.no_grad()
    def encode_condition(self, clip: Clip) -> tuple[Placed, ...]:
        """What the encoders make of a clip's prompt and first frames, as many as the shortest context has.

        In sampling no more may be there. An encoder sees motion if every context has two frames or more. One
        that is shown the whole clip, see `Encoder.sees_future`, gets it.
        """
        fewest = self.contexts[0] if self.other_contexts is None else 0  # others need no first frame
        return self.conditioner.encode(hold(clip, fewest, fewest), clip)

    # ---------------------------------------------------------------- training

    def loss(
        self,
        latents: Latents,
        which: Int[Tensor, " B"],
        sigma: Float[Tensor, " B"],
        eps: Float[Tensor, "B L C h w"],
        keep: Bool[Tensor, " B *S"],
        residuals: Residuals | None = None,
    ) -> Float[Tensor, " B"]:
        """Loss of each clip.

        Args:
            latents: The clips.
            which: Index into ``contexts`` of each clip.
            sigma: Noise levels.
            eps: Noise.
            keep: False where the condition is dropped; with a second axis, which slots of it.
            residuals: Of a control.
        """
        x = self.change(latents, which)
        output = self.predict(latents, which, sigma, eps, keep, residuals)
        return self.process.loss(output, x, eps, sigma).flatten(1).mean(dim=1)

    def predict(
        self,
        latents: Latents,
        which: Int[Tensor, " B"],
        sigma: Float[Tensor, " B"],
        eps: Float[Tensor, "B L C h w"],
        keep: Bool[Tensor, " B *S"],
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B L C h w"]:
        """What the denoiser makes of clips with noise added; arguments as of `loss`."""
        noisy = self.process.corrupt(self.change(latents, which), eps, sigma)
        return self.denoise(noisy, latents, which, sigma, keep, residuals)

    def denoise(
        self,
        noisy: Float[Tensor, "B L C h w"],
        latents: Latents,
        which: Int[Tensor, " B"],
        sigma: Float[Tensor, " B"],
        keep: Bool[Tensor, " B *S"],
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B L C h w"]:
        """What the denoiser makes of a noisy change, whatever it came from; arguments as of `loss`."""
        context, condition = self.beside(latents, which, keep)
        return self.denoiser(noisy, sigma, context, condition, residuals)

    def beside(
        self, latents: Latents, which: Int[Tensor, " B"], keep: Bool[Tensor, " B *S"]
    ) -> tuple[Float[Tensor, "B L K h w"], Conditioning]:
        """What the denoiser reads beside the noise: context and condition; arguments as of `loss`."""
        of_clip = torch.arange(len(which), device=which.device), which
        forecast = None if latents.forecast is None else latents.forecast[:, 0][of_clip]
        still, frames = latents.still_of(which), 1 + (latents.z.shape[1] - 1) * self.codec.temporal_stride
        masks = [known_mask(self.codec, places, frames) for places in self.choices(frames)]
        mask = torch.stack(masks).to(still)[which]  # (B, L, s)
        if latents.noise is not None and latents.level is not None:
            still, mask = read_through(still, mask, latents.noise, latents.level)
        context = self._context(still, latents.motion[of_clip], mask, forecast)
        return context, self.conditioner(latents.slots, keep)

    def change(self, latents: Latents, which: Int[Tensor, " B"]) -> Float[Tensor, "B L C h w"]:
        """What is diffused: clips against their still worlds, in units of ``latent_std``."""
        return (latents.z - latents.still_of(which)) / self.latent_std

    def choices(self, frames: int) -> list[tuple[int, ...]]:
        """The known frames of each choice of context: those of ``contexts`` first."""
        return choose_places(self.contexts, self.other_contexts, frames)

    def leaving_contexts(self, steps: int) -> Bool[Tensor, " K"]:
        """Which choices of context leave frames to be made of a clip of so many latent steps.

        Raises:
            ValueError: None does: a picture is all known once its first frame is.
        """
        frames = 1 + (steps - 1) * self.codec.temporal_stride
        leaving = torch.tensor([len(places) < frames for places in self.choices(frames)])
        if not leaving.any():
            raise ValueError(
                f"Of {frames} frames none is left to make where {self.contexts[0]} or more are known; add 0 "
                "to model.contexts, as in configs/data/folder.yaml, or leave such clips out."
            )
        return leaving.to(self.device)

    # ---------------------------------------------------------------- sampling

    def generate(
        self,
        context: Clip,
        frames: int,
        seed: int,
        slots: tuple[Placed, ...] | None = None,
        residuals: Residuals | None = None,
    ) -> Clip:
        """Continue a clip.

        Args:
            context: The known first frames, and the prompts. More frames than the model was trained to know
                are not used.
            frames: Length of the result, the known frames included.
            seed: Of the noise: the same seed gives the same bits.
            slots: What to attend to, instead of what `encode_condition` makes of ``context``.
            residuals: Of a control, see `worldgen.diffusion.control`.

        Raises:
            ValueError: Fewer known frames than the model needs; an encoder is to be shown the whole clip, and
                there are no ``slots`` that it made.
        """
        *_, z = self.sample(context, frames, seed, slots, residuals)
        return self.decode(z, context, frames)

    def generate_steps(
        self, context: Clip, frames: int, seed: int, residuals: Residuals | None = None
    ) -> Iterator[Callable[[], Clip]]:
        """Yields after each step of the sampler a function that decodes what there is."""
        for z in self.sample(context, frames, seed, residuals=residuals):
            yield partial(self.decode, z, context, frames)

    def sample(
        self,
        context: Clip,
        frames: int,
        seed: int,
        slots: tuple[Placed, ...] | None = None,
        residuals: Residuals | None = None,
    ) -> Iterator[Float[Tensor, "B L C h w"]]:
        """Yields the latent after each step of the sampler; arguments as of `generate`."""
        if slots is None and self.conditioner.sees_future:
            raise ValueError(
                f"The encoder of {self.conditioner.sees_future[0]} is shown the whole clip, and there is "
                "none: this model reconstructs. Hand it clips with `worldgen evaluate`."
            )
        known = Known.of(context, range(self.choose_context(context)), frames)
        yield from self.sample_known(known, seed, slots, residuals)

    def sample_known(
        self,
        known: Known,
        seed: int | Sequence[int],
        slots: tuple[Placed, ...] | None = None,
        residuals: Residuals | None = None,
        negative: tuple[Placed, ...] | None = None,
        start: Start | None = None,
        lead: Lead | None = None,
    ) -> Iterator[Float[Tensor, "B L C h w"]]:
        """Yields the latent after each step of the sampler, of clips of which any frames are known.

        Args:
            known: The known frames, and the prompts.
            seed: Of the noise of all clips, or of each.
            slots: What to attend to, instead of what `encode_condition` makes of the known frames.
            residuals: Of a control.
            negative: What to be led away from, where guidance asks what is without the text.
            start: Where sampling begins, and what it keeps; in noise, and nothing, when None.
            lead: Makes of the velocity, the known frames and their still world's latent another velocity.
        """
        with torch.no_grad():
            still = known.still(self.codec)
            cells, frames = (still.shape[-2], still.shape[-1]), known.clip.frames.shape[1]
            slots = self.encode_condition(known.clip) if slots is None else slots
            ask = (known.clip, [len(known.places)], frames, 1, cells)
            told = None if self.forecast is None else self.forecast.draw(*ask)
            forecast = None if told is None else lay_on_steps(self.codec, told)[:, 0, 0]
            whole = 1 + (still.shape[1] - 1) * self.codec.temporal_stride
            mask = known_mask(self.codec, known.places, whole).to(still).expand(len(still), -1, -1)
            read, mask = known.read(still, mask, seed)
            context = self._context(read, known.motion(cells), mask, forecast)
            velocity = self.sampler.guide(
                partial(self._velocity, context, slots, residuals, negative), self.conditioner.present
            )
        if lead is not None:
            velocity = lead(velocity, known, still)
        noise, generators = draw_noise(still, seed)
        if start is None:
            walk = self.sampler.sample(velocity, noise, generators)
        else:
            x = (start.z - still) / self.latent_std
            walk = self.sampler.sample(start.keep(velocity, x, noise), noise, generators, x, start.strength)
        for x in walk:
            yield x * self.latent_std + still

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "B L C h w"], context: Clip, frames: int | None = None) -> Clip:
        """The clip of a latent, with its known frames as ``context`` has them.

        Args:
            z: The latent.
            context: The clip that was continued.
            frames: Length of the result, where its last step is not whole; all of ``z`` when None.
        """
        whole = 1 + (z.shape[1] - 1) * self.codec.temporal_stride
        count = self.choose_context(context)
        return self.decode_known(z, Known.of(context, range(count), whole if frames is None else frames))

    @torch.no_grad()
    def decode_known(self, z: Float[Tensor, "B L C h w"], known: Known) -> Clip:
        """The clip of a latent, with the known frames as they are."""
        held = known.clip
        made = known.put(self.codec.decode(z, held).clamp(0, 1))
        return Clip(made, held.fps, held.prompts, camera=held.camera, scenes=held.scenes)

    def choose_context(self, context: Clip) -> int:
        """The most known frames, of those trained with, that the clip has.

        Raises:
            ValueError: If it has fewer than any.
        """
        given = context.frames.shape[1]
        fitting = [context_frames for context_frames in self.contexts if context_frames <= given]
        if not fitting:
            raise ValueError(f"This model needs at least {self.contexts[0]} first frames; got {given}.")
        return fitting[-1]

    # ---------------------------------------------------------------- files

    def frozen_fingerprint(self) -> str:
        """Names the weights of the frozen parts."""
        frozen = (self.codec, *self.conditioner.encoders, self.forecast)
        parts = [part for part in frozen if part is not None]
        return " ".join(f"{type(part).__name__}:{fingerprint(part)}" for part in parts)

    # ---------------------------------------------------------------- parts of the above

    def _context(
        self,
        still: Float[Tensor, "B L C h w"],
        motion: Float[Tensor, "B 2 h w"],
        mask: Float[Tensor, "B L s"],
        forecast: Float[Tensor, "B L P h w"] | None,
    ) -> Float[Tensor, "B L K h w"]:
        """What lies beside the noise: the still world, how things move, which frames are known, and more."""
        mask = mask[..., None, None].expand(-1, -1, -1, *still.shape[-2:])
        steps = still.shape[1]
        told = [] if forecast is None else [forecast]
        return torch.cat([still, motion[:, None].expand(-1, steps, -1, -1, -1), mask, *told], dim=2)

    def _velocity(
        self,
        context: Float[Tensor, "B L K h w"],
        slots: tuple[Placed, ...],
        residuals: Residuals | None,
        negative: tuple[Placed, ...] | None,
        given: frozenset[str],
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The velocity of a denoiser that knows the ``given`` slots, and else the negative text alone."""
        if negative is not None and "text" not in given:
            slots = tuple(
                other if slot == "text" else own
                for slot, own, other in zip(self.conditioner.present, slots, negative, strict=True)
            )
            given = given | {"text"}
        keep = torch.tensor([slot in given for slot in self.conditioner.present], dtype=torch.bool)
        condition = self.conditioner(slots, keep.to(context.device).expand(len(context), -1))

        def velocity(x: Float[Tensor, "B L C h w"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L C h w"]:
            x_sigma = self.process.scale(x, sigma)
            output = self.denoiser(x_sigma, sigma, context, condition, residuals)
            return self.process.velocity(output, x_sigma, sigma)

        return velocity
