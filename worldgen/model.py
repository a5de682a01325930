"""WorldModel: the file where encoders, denoiser and codec meet.

A clip's codec latent z is generated from its first frames and its condition. What is diffused is the *change
against a world that stands still* after the known frames, ``x = (z - z_still) / latent_std``: the background
is there from the start, and noise is spent on what moves. How things move lies beside it: the flow of the
last two known frames.

How it is trained is `worldgen.tasks.generator`; nothing here needs a trainer, a cache or a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from worldgen.conditioning import SLOTS, Conditioner, require_slots
from worldgen.diffusion.codec import Codec
from worldgen.diffusion.context import context_mask, context_motion, encode_held, hold, lay_on_steps
from worldgen.diffusion.denoisers.base import Denoiser, Residuals
from worldgen.diffusion.process import Process
from worldgen.diffusion.sampler import Sampler
from worldgen.encoders.base import Placed, fingerprint
from worldgen.latents import Latents
from worldgen.physics.forecast import Forecast
from worldgen.types import Clip, Conditioning


class WorldModel(nn.Module):
    """Generation of a video latent from noise, given first frames and a condition.

    Args:
        codec: Frozen; its latent is what is generated.
        conditioner: Frozen encoders, and the trained part that joins them.
        denoiser: Makes the network from (channels, context channels, condition width).
        process: Noise process and prediction target.
        sampler: How `generate` samples.
        contexts: Numbers of known first frames, and how often each is trained.
        forecast: Frozen; what is told of materials and of how the known frames go on. None tells nothing.

    Raises:
        ValueError: The sampler's guidance names what is no slot, or its scheduler begins with more noise than
            the process is trained with.
    """

    context_odds: Float[Tensor, " K"]
    """How often each of ``contexts`` is trained."""
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
    ) -> None:
        super().__init__()
        if isinstance(sampler.guidance, dict):
            require_slots(sampler.guidance, "Sampler.guidance")
        sampler.require_process(process)
        self.codec = codec.requires_grad_(False)
        self.conditioner = conditioner
        self.forecast = None if forecast is None else forecast.requires_grad_(False)
        told = 0 if forecast is None else forecast.channels * codec.temporal_stride
        beside = codec.channels + 2 + codec.temporal_stride + told
        self.denoiser = denoiser(codec.channels, beside, conditioner.dim)
        self.process, self.sampler = process, sampler
        self.contexts = tuple(sorted(contexts))
        self.register_buffer(
            "context_odds", torch.tensor([contexts[context_frames] for context_frames in self.contexts])
        )
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
        known = [min(context_frames, frames) for context_frames in self.contexts]
        still = torch.stack(
            [encode_held(self.codec, clip, context_frames, frames) for context_frames in known], dim=1
        )
        rows, columns = still.shape[-2:]
        motion = torch.stack(
            [context_motion(clip, context_frames, (rows, columns)) for context_frames in known], dim=1
        )
        told = (
            None if self.forecast is None else self.forecast.draw(clip, known, frames, None, (rows, columns))
        )
        forecast = None if told is None else lay_on_steps(self.codec, told)
        return Latents(self.codec.encode(clip), still, motion, self.encode_condition(clip), forecast)

    @torch.no_grad()
    def encode_condition(self, clip: Clip) -> tuple[Placed, ...]:
        """What the encoders make of a clip's prompt and first frames, as many as the shortest context has.

        In sampling no more may be there. An encoder sees motion if every context has two frames or more. One
        that is shown the whole clip, see `Encoder.sees_future`, gets it.
        """
        fewest = self.contexts[0]
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
        context = self._context(latents.still_of(which), latents.motion[of_clip], which, forecast)
        return context, self.conditioner(latents.slots, keep)

    def change(self, latents: Latents, which: Int[Tensor, " B"]) -> Float[Tensor, "B L C h w"]:
        """What is diffused: clips against their still worlds, in units of ``latent_std``."""
        return (latents.z - latents.still_of(which)) / self.latent_std

    def leaving_contexts(self, steps: int) -> Bool[Tensor, " K"]:
        """Which of ``contexts`` leave frames to be made of a clip of so many latent steps.

        Raises:
            ValueError: None does: a picture is all known once its first frame is.
        """
        frames = 1 + (steps - 1) * self.codec.temporal_stride
        leaving = torch.tensor([context_frames < frames for context_frames in self.contexts])
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
        context_frames = self.choose_context(context)
        start = hold(context, context_frames, frames)
        with torch.no_grad():
            still = encode_held(self.codec, start, context_frames, frames)
            rows, columns = still.shape[-2:]
            motion = context_motion(start, context_frames, (rows, columns))
            which = torch.full((len(still),), self.contexts.index(context_frames), device=still.device)
            slots = self.encode_condition(context) if slots is None else slots
            ask = (context, [context_frames], frames, 1, (rows, columns))
            told = None if self.forecast is None else self.forecast.draw(*ask)
            forecast = None if told is None else lay_on_steps(self.codec, told)[:, 0, 0]
            given = partial(self._velocity, self._context(still, motion, which, forecast), slots, residuals)
            velocity = self.sampler.guide(given, self.conditioner.present)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(still.shape, generator=generator).to(still)
        for x in self.sampler.sample(velocity, noise, generator):
            yield x * self.latent_std + still

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "B L C h w"], context: Clip, frames: int | None = None) -> Clip:
        """The clip of a latent, with its known frames as ``context`` has them.

        Args:
            z: The latent.
            context: The clip that was continued.
            frames: Length of the result, where its last step is not whole; all of ``z`` when None.
        """
        context_frames = self.choose_context(context)
        whole = 1 + (z.shape[1] - 1) * self.codec.temporal_stride
        start = hold(context, context_frames, whole if frames is None else frames)
        made = self.codec.decode(z, start).clamp(0, 1)
        made = torch.cat([start.frames[:, :context_frames], made[:, context_frames:]], dim=1)
        return Clip(made, start.fps, start.prompts, camera=start.camera, scenes=start.scenes)

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

    def trained_state(self) -> dict[str, Tensor]:
        """Everything that training changed, and nothing that is frozen, by the names that it has in files."""
        frozen = ("codec.", "forecast.", *(f"conditioner.{slot}." for slot in SLOTS))
        learned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            _IN_FILES.get(name, name): value
            for name, value in self.state_dict().items()
            if name in learned or not name.startswith(frozen)
        }

    def load_trained(self, state: dict[str, Tensor], source: str) -> None:
        """Take over what `trained_state` returned.

        Args:
            state: By the names that weights have in files.
            source: Where it comes from, for the error.

        Raises:
            ValueError: It is of another model.
        """
        own = self.trained_state()
        wrong = [name for name in {**own, **state} if _shape(own, name) != _shape(state, name)]
        if wrong:
            raise ValueError(
                f"{source} must hold the model of its config.yaml; {len(wrong)} tensors differ, {min(wrong)} "
                "first. It is a checkpoint of another model."
            )
        here = {name: here for here, name in _IN_FILES.items()}
        found = {here.get(name, name): value for name, value in state.items()}
        self.load_state_dict({**self.state_dict(), **found})

    def take_shared(self, state: dict[str, Tensor]) -> list[str]:
        """Begin with another model's weights wherever name and shape agree, and say where they do not.

        Args:
            state: By the names that weights have in files.

        Returns:
            Names of what was trained anew here: tensors that ``state`` lacks, or has in another shape.
        """
        own = self.trained_state()
        shared = {name: value for name, value in state.items() if _shape(own, name) == _shape(state, name)}
        self.load_trained({**own, **shared}, "The start")
        return sorted(own.keys() - shared.keys())

    # ---------------------------------------------------------------- parts of the above

    def _context(
        self,
        still: Float[Tensor, "B L C h w"],
        motion: Float[Tensor, "B 2 h w"],
        which: Int[Tensor, " B"],
        forecast: Float[Tensor, "B L P h w"] | None,
    ) -> Float[Tensor, "B L K h w"]:
        """What lies beside the noise: the still world, how things move, which frames are known, and more."""
        stride, steps = self.codec.temporal_stride, still.shape[1]
        masks = torch.stack(
            [
                context_mask(self.codec, context_frames, 1 + (steps - 1) * stride)
                for context_frames in self.contexts
            ]
        ).to(still)  # (K, L, s)
        mask = masks[which][..., None, None].expand(-1, -1, -1, *still.shape[-2:])
        told = [] if forecast is None else [forecast]
        return torch.cat([still, motion[:, None].expand(-1, steps, -1, -1, -1), mask, *told], dim=2)

    def _velocity(
        self,
        context: Float[Tensor, "B L K h w"],
        slots: tuple[Placed, ...],
        residuals: Residuals | None,
        given: frozenset[str],
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The velocity of a denoiser that knows no more than the ``given`` slots."""
        keep = torch.tensor([slot in given for slot in self.conditioner.present], dtype=torch.bool)
        condition = self.conditioner(slots, keep.to(context.device).expand(len(context), -1))

        def velocity(x: Float[Tensor, "B L C h w"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L C h w"]:
            x_sigma = self.process.scale(x, sigma)
            output = self.denoiser(x_sigma, sigma, context, condition, residuals)
            return self.process.velocity(output, x_sigma, sigma)

        return velocity


_IN_FILES = {"latent_std": "spread"}
"""Names that files of weights have kept, where those of the code have changed."""


def _shape(state: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
