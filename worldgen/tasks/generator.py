"""WorldGenerator: the file where the rooms meet.

A clip's codec latent z is generated from its first frames and its condition. What is diffused is the *change
against a world that stands still* after the known frames, ``x = (z - z_still) / spread``: the background is
there from the start, and noise is spent on what moves. How things move lies beside it: the flow of the last
two known frames.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from lightning.pytorch import LightningModule
from torch import Tensor

from worldgen.conditioning import SLOTS, Conditioner, require_slots
from worldgen.data.cache.cache import EXACT, Recipe, precompute, stack_columns
from worldgen.data.cache.precision import Columns, Storage
from worldgen.diffusion import context as context_code
from worldgen.diffusion import optical_flow as flow_code
from worldgen.diffusion.average import WeightAverage
from worldgen.diffusion.codec import Codec
from worldgen.diffusion.context import encode_held, hold, known_mask, known_motion
from worldgen.diffusion.dit import DiT, Residuals
from worldgen.diffusion.process import FlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.encoders.base import Placed, fingerprint
from worldgen.model import Latents
from worldgen.tasks.measures import ValidationMetric
from worldgen.tasks.schedule import draw_step, scheduled
from worldgen.tasks.validation import begin, validate
from worldgen.types import Clip

_CODE = hashlib.sha256("".join(map(inspect.getsource, (context_code, flow_code))).encode()).hexdigest()
"""What was computed once by other code is computed again."""


class WorldGenerator(LightningModule):
    """Flow matching of a video latent, given first frames and a condition.

    Args:
        codec: Frozen; its latent is what is generated.
        conditioner: Frozen encoders, and the trained part that joins them.
        denoiser: Makes the network from (channels, context channels, condition width).
        process: Noise process and prediction target.
        sampler: How validation and `generate` sample.
        contexts: Numbers of known first frames, and how often each is trained.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        weight_decay: AdamW's.
        average: Decay of the moving average of weights, which is what validates and ships.
        seed: Of everything that training draws: step n draws the same whether or not the run was interrupted.
        cache: Folder for what the frozen parts make of the training clips.
        storage: How numbers are kept there; `worldgen cache plan` says what each way costs.
        sampled: The first so many clips of validation are generated and measured, each time the same.
        measures: What is measured of them.
    """

    def __init__(
        self,
        codec: Codec,
        conditioner: Conditioner,
        denoiser: Callable[[int, int, int], DiT],
        process: FlowMatching,
        sampler: Sampler,
        contexts: dict[int, float] = {1: 0.25, 2: 0.75},  # noqa: B006 never written to
        lr: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.01,
        average: float = 0.999,
        seed: int = 0,
        cache: Path = Path("outputs/cache"),
        storage: Storage = EXACT,
        sampled: int = 8,
        measures: list[ValidationMetric] = [],  # noqa: B006 never written to
    ) -> None:
        super().__init__()
        if isinstance(sampler.guidance, dict):
            require_slots(sampler.guidance, "Sampler.guidance")
        self.codec = codec.requires_grad_(False)
        self.conditioner = conditioner
        self.denoiser = denoiser(codec.channels, codec.channels + 2 + codec.temporal_stride, conditioner.dim)
        self.process, self.sampler = process, sampler
        self.contexts = tuple(sorted(contexts))
        self.register_buffer(
            "context_odds", torch.tensor([contexts[context_frames] for context_frames in self.contexts])
        )
        self.register_buffer("spread", torch.ones(()))
        self.average = WeightAverage([*self.conditioner.parameters(), *self.denoiser.parameters()], average)
        self.lr, self.warmup, self.weight_decay = lr, warmup, weight_decay
        self.seed, self.cache, self.storage = seed, cache, storage
        self.sampled, self.measures = sampled, tuple(measures)  # no part of the model: not in its state

    # ---------------------------------------------------------------- training

    def setup(self, stage: str) -> None:
        """Run the frozen parts over the training clips once, and train on what they made."""
        begin(self, stage)
        if stage != "fit":
            return
        data = self.trainer.datamodule
        source = data.train_source(self.unread)
        latents = precompute(
            source, lambda clip: self.encode(clip).columns(), self.cache, self.recipe(), self.storage
        )
        data.train_on(latents, stack_columns)
        first = (latents[index] for index in range(min(256, len(latents))))
        self.spread.copy_(torch.cat([(z[:, None] - still).flatten() for z, still, *_ in first]).std())

    @property
    def unread(self) -> tuple[str, ...]:
        """Members of shards that training need not read: depth only where no encoder looks at it."""
        senses = {name for encoder in self.conditioner.encoders if encoder for name in encoder.origins or ()}
        return ("masks", "scene") if "depth" in senses else ("depth", "masks", "scene")

    @torch.no_grad()
    def encode(self, clip: Clip) -> Latents:
        """The frozen part of training; depends on nothing that is learned here."""
        frames = clip.frames.shape[1]
        still = torch.stack(
            [encode_held(self.codec, clip, context_frames, frames) for context_frames in self.contexts], dim=1
        )
        motion = torch.stack(
            [known_motion(clip, context_frames, still.shape[-2:]) for context_frames in self.contexts], dim=1
        )
        return Latents(self.codec.encode(clip), still, motion, self.encode_condition(clip))

    @torch.no_grad()
    def encode_condition(self, clip: Clip) -> tuple[Placed, ...]:
        """What the encoders make of a clip's prompt and first frames, as many as the shortest context has.

        In sampling no more may be there. An encoder sees motion if every context has two frames or more. One
        that is shown the whole clip, see `Encoder.sees_future`, gets it.
        """
        fewest = self.contexts[0]
        return self.conditioner.encode(hold(clip, fewest, fewest), clip)

    def training_step(self, batch: Columns, index: int) -> Float[Tensor, ""]:
        latents = Latents.from_columns(batch)
        loss = self.loss(latents, *draw_step(self, self, latents, index)).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(latents.z))
        return loss

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
        x = (latents.z - latents.still[torch.arange(len(which), device=which.device), which]) / self.spread
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
        rows = torch.arange(len(which), device=which.device)
        still = latents.still[rows, which]
        x = (latents.z - still) / self.spread
        masks = torch.stack(
            [self._known(context_frames, latents.z) for context_frames in self.contexts]
        )  # (K, L, s, h, w)
        motion = latents.motion[rows, which][:, None].expand(-1, still.shape[1], -1, -1, -1)
        context = torch.cat([still, motion, masks[which]], dim=2)
        condition = self.conditioner(latents.slots, keep)
        return self.denoiser(self.process.corrupt(x, eps, sigma), sigma, context, condition, residuals)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable | None = None
    ) -> None:
        """The average follows each step of the weights, before any checkpoint of that step is written."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.average.update(self.global_step + 1)

    def configure_optimizers(self) -> dict:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.lr, betas=(0.9, 0.95), weight_decay=self.weight_decay
        )
        return scheduled(optimizer, self.warmup, self.trainer)

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
            ValueError: An encoder is to be shown the whole clip, and there are no ``slots`` that it made.
        """
        *_, z = self.sample(context, frames, seed, slots, residuals)
        return self.decode(z, context)

    def generate_steps(
        self, context: Clip, frames: int, seed: int, residuals: Residuals | None = None
    ) -> Iterator[Callable[[], Clip]]:
        """Yields after each step of the sampler a function that decodes what there is."""
        for z in self.sample(context, frames, seed, residuals=residuals):
            yield partial(self.decode, z, context)

    def sample(
        self,
        context: Clip,
        frames: int,
        seed: int,
        slots: tuple[Placed, ...] | None = None,
        residuals: Residuals | None = None,
    ) -> Iterator[Float[Tensor, "B L C h w"]]:
        """Yields the latent after each step of the sampler; arguments as of `generate`."""
        if slots is None and self.conditioner.shown:
            raise ValueError(
                f"The encoder of {self.conditioner.shown[0]} is shown the whole clip, and there is none: "
                "this model reconstructs. Hand it clips with `worldgen evaluate`."
            )
        context_frames = self.choose_context(context)
        start = hold(context, context_frames, frames)
        with torch.no_grad():
            still = encode_held(self.codec, start, context_frames, frames)
            motion = known_motion(start, context_frames, still.shape[-2:])[:, None]
            mask = self._known(context_frames, still).expand(len(still), -1, -1, -1, -1)
            beside = torch.cat([still, motion.expand(-1, still.shape[1], -1, -1, -1), mask], dim=2)
            slots = self.encode_condition(context) if slots is None else slots
            given = partial(self._velocity, beside, slots, residuals)
            velocity = self.sampler.guide(given, self.conditioner.present)
        noise = torch.randn(still.shape, generator=torch.Generator().manual_seed(seed)).to(still)
        for x in self.sampler.sample(velocity, noise):
            yield x * self.spread + still

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "B L C h w"], context: Clip) -> Clip:
        """The clip of a latent, with its known frames as ``context`` has them."""
        context_frames = self.choose_context(context)
        start = hold(context, context_frames, 1 + (z.shape[1] - 1) * self.codec.temporal_stride)
        frames = self.codec.decode(z, start).clamp(0, 1)
        frames = torch.cat([start.frames[:, :context_frames], frames[:, context_frames:]], dim=1)
        return Clip(frames, start.fps, start.prompts, camera=start.camera, scenes=start.scenes)

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
            output = self.denoiser(x, sigma, context, condition, residuals)
            return self.process.velocity(output, x, sigma)

        return velocity

    def _known(self, context_frames: int, z: Float[Tensor, "B L C h w"]) -> Float[Tensor, "L s h w"]:
        stride = self.codec.temporal_stride
        mask = known_mask(self.codec, context_frames, 1 + (z.shape[1] - 1) * stride).to(z)
        return mask[:, :, None, None].expand(-1, -1, *z.shape[-2:])

    # ---------------------------------------------------------------- validation

    def validation_step(self, clip: Clip, index: int) -> None:
        validate(self, clip, index, "val")

    def test_step(self, clip: Clip, index: int) -> None:
        validate(self, clip, index, "test")

    # ---------------------------------------------------------------- files

    def frozen_fingerprint(self) -> str:
        """Names the weights of the frozen parts."""
        parts = [part for part in (self.codec, *self.conditioner.encoders) if part is not None]
        return " ".join(f"{type(part).__name__}:{fingerprint(part)}" for part in parts)

    def recipe(self) -> Recipe:
        """What `encode` depends on besides the clip."""
        slots = zip(("codec", *SLOTS), (self.codec, *self.conditioner.encoders), strict=True)
        weights = {
            f"{type(part).__name__} ({name})": fingerprint(part) for name, part in slots if part is not None
        }
        return Recipe(weights, {"contexts": " ".join(map(str, self.contexts)), "encoding code": _CODE[:12]})

    def trained_state(self) -> dict[str, Tensor]:
        """Everything that training changed, and nothing that is frozen."""
        frozen = ("codec.", *(f"conditioner.{slot}." for slot in SLOTS))
        learned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            name: value
            for name, value in self.state_dict().items()
            if name in learned or not name.startswith(frozen)
        }

    def load_trained(self, state: dict[str, Tensor], source: Path) -> None:
        """Take over averaged weights.

        Raises:
            ValueError: If they are of another model.
        """
        own = {name: value for name, value in self.trained_state().items() if not name.startswith("average.")}
        wrong = [name for name in {**own, **state} if _shape(own, name) != _shape(state, name)]
        if wrong:
            raise ValueError(
                f"{source} must hold the model of its config.yaml; {len(wrong)} tensors differ, {min(wrong)} "
                "first. It is a checkpoint of another model."
            )
        self.load_state_dict({**self.state_dict(), **state})
        self.average.restart()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Frozen weights are kept by name, not by value."""
        checkpoint["state_dict"] = self.trained_state()
        checkpoint["frozen"] = self.frozen_fingerprint()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError if the checkpoint was trained on other frozen parts."""
        if checkpoint.get("frozen") != self.frozen_fingerprint():
            raise ValueError(
                f"The checkpoint must have been trained with {self.frozen_fingerprint()}; "
                f"it was trained with {checkpoint.get('frozen')}. Use the config of its run."
            )
        found, own = checkpoint["state_dict"], self.trained_state()
        wrong = [name for name in {**own, **found} if _shape(own, name) != _shape(found, name)]
        if wrong:
            raise ValueError(
                f"The checkpoint must be of this model; {len(wrong)} tensors differ, {min(wrong)} first. "
                "Use the config of its run."
            )
        checkpoint["state_dict"] = {**self.state_dict(), **found}


def _shape(state: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
