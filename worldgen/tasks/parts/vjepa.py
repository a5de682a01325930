"""Making a V-JEPA 2 by masked feature prediction, in the format that any V-JEPA 2 checkpoint has."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional
from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

from worldgen.encoders.vjepa2 import predict_hidden, read_visible
from worldgen.files import replaced_folder
from worldgen.tasks.parts.codec import moving_pixels
from worldgen.tasks.parts.masking import Masking, Split
from worldgen.tasks.schedule import require_training, scheduled, step_seed
from worldgen.types import Clip

SHORT, LONG = Masking(blocks=8, share=0.15), Masking(blocks=2, share=0.7)
FUTURE = Masking(blocks=0, seen=(0.125, 0.75))
LEAST_STD, LEAST_RANK = 0.1, 4.0
"""Below either, the features of different clips hardly differ any more."""


class VJEPATask(LightningModule):
    """Masked feature prediction (Bardes et al. 2024, 2404.08471, eq. 1; Assran et al. 2025, 2506.09985).

    ``loss = mean w |P(E(visible), hidden) - LN(sg(teacher(all)))[hidden]|``: the predictor P goes from tokens
    that the encoder E made of the visible patches alone to the layer-normalized tokens that a teacher makes
    of the whole clip; w is 1, or more where something moves. The teacher is a moving average of the encoder,
    and gets no gradient.

    Nothing but that average keeps features from becoming one constant. So their spread over clips and their
    effective rank are logged, and a warning is given when either is small. The teacher and the predictor are
    exported after each validation, and in the end, in Hugging Face layout, so that `encoders.vjepa2.VJEPA2`
    loads them as it loads any other V-JEPA 2.

    Args:
        dim: Width of the encoder.
        layers: Of the encoder.
        heads: Of the encoder.
        predictor_dim: Width of the predictor.
        predictor_layers: Of the predictor.
        predictor_heads: Of the predictor.
        size: Rows and columns of a frame, in pixels.
        frames: Of a clip.
        patch: Rows and columns of a patch, in pixels.
        tubelet: Frames of a token.
        short: Many small blocks of the picture, hidden over the whole time. Each of the masks is drawn once
            per step and clip.
        long: Few large ones.
        future: What comes after the first frames, which is what `VJEPA2.predict` asks of the predictor.
        moving: Extra weight in the loss of a token all of whose pixels move, as `moving_pixels` has it.
        momentum: Of the teacher: ``teacher <- momentum teacher + (1 - momentum) encoder`` after each step.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        weight_decay: AdamW's, of matrices.
        seed: Of the masks: step n draws the same whether or not the run was interrupted.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dim: int = 192,
        layers: int = 5,
        heads: int = 4,
        predictor_dim: int = 144,
        predictor_layers: int = 3,
        predictor_heads: int = 3,
        size: int = 64,
        frames: int = 16,
        patch: int = 16,
        tubelet: int = 2,
        short: Masking | None = SHORT,
        long: Masking | None = LONG,
        future: Masking | None = FUTURE,
        moving: float = 0.0,
        momentum: float = 0.996,
        lr: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.04,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_training(lr, warmup, weight_decay)
        if size % patch or size < 2 * patch:
            raise ValueError(f"size must be a multiple, 2 or more, of patch ({patch} pixels); got {size}.")
        if frames % tubelet or frames < 2 * tubelet:
            raise ValueError(f"frames must be a multiple, 2 or more, of tubelet ({tubelet}); got {frames}.")
        for width, count in ((dim, heads), (predictor_dim, predictor_heads)):
            if width % count or width < 12 * count:  # narrower, the library's rotary positions break
                raise ValueError(f"Each head must have 12 or more whole channels; got {width} for {count}.")
        if moving < 0:
            raise ValueError(f"moving must be 0 or more; got {moving}.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1); got {momentum}.")
        self.masks = tuple(mask for mask in (short, long, future) if mask is not None)
        if not self.masks:
            raise ValueError("V-JEPA training needs at least one mask; got none.")
        self.model = VJEPA2Model(
            VJEPA2Config(
                hidden_size=dim,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                pred_hidden_size=predictor_dim,
                pred_num_hidden_layers=predictor_layers,
                pred_num_attention_heads=predictor_heads,
                pred_num_mask_tokens=1,  # the library uses no other
                crop_size=size,
                frames_per_clip=frames,
                patch_size=patch,
                tubelet_size=tubelet,
                initializer_range=dim
                ** -0.5,  # the library's 0.02 fits a width of 1024, and is slow in a narrow one
            )
        )
        self.teacher = copy.deepcopy(self.model.encoder).requires_grad_(False)
        # The whole picture is seen.
        self.processor = VJEPA2VideoProcessor(crop_size=size, do_resize=False)  # pyright: ignore[reportArgumentType]
        self.register_buffer("mean", torch.tensor(self.processor.image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.processor.image_std).view(3, 1, 1), persistent=False)
        self.times, self.side = frames // tubelet, size // patch
        self.moving, self.momentum, self.seed = moving, momentum, seed
        self.lr, self.warmup, self.weight_decay = lr, warmup, weight_decay
        self._warned = False

    # ---------------------------------------------------------------- training

    def training_step(self, clip: Clip, index: int) -> Float[Tensor, ""]:
        pixels = self.pixels(clip)
        target = self.target(pixels)
        # Of this step, part of a step and process, so that a resumed run draws what it would have drawn.
        place = step_seed(self, self.seed, index)
        loss, explained = self.loss(pixels, target, self.weight(clip), self.draw(len(clip), place))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(clip))
        self.log("train/explained", explained, prog_bar=True, batch_size=len(clip))
        often = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if self.global_step % often == 0 and len(clip) > 1:
            self.watch(target)
        return loss

    def validation_step(self, clip: Clip, index: int) -> None:
        pixels = self.pixels(clip)
        target = self.target(pixels)
        loss, explained = self.loss(pixels, target, self.weight(clip), self.draw(len(clip), index))
        self.log_dict({"val/loss": loss, "val/explained": explained}, prog_bar=True, batch_size=len(clip))

    def pixels(self, clip: Clip) -> Float[Tensor, "B T 3 H W"]:
        """Frames as the network sees them.

        Raises:
            ValueError: They are of another number or size.
        """
        config = self.model.config
        side = config.crop_size
        if clip.frames.shape[1:] != (config.frames_per_clip, 3, side, side):
            time, _, height, width = clip.frames.shape[1:]
            raise ValueError(
                f"V-JEPA trains on clips of {config.frames_per_clip} frames of {side} x {side} pixels here; "
                f"got {time} of {height} x {width}. Set model.frames and model.size, or import clips so."
            )
        return (clip.frames - self.mean) / self.std

    @torch.no_grad()
    def target(self, pixels: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B L D"]:
        """What is predicted: the teacher's tokens of the whole clip, brought to mean 0 and variance 1."""
        tokens = self.teacher(pixels).last_hidden_state
        return functional.layer_norm(tokens, tokens.shape[-1:])

    def draw(self, clips: int, seed: int) -> list[Split]:
        """Masks of each kind."""
        generator = torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
        splits = [mask.draw(clips, self.times, self.side, generator) for mask in self.masks]
        return [Split(*(places.to(self.device) for places in split)) for split in splits]

    def weight(self, clip: Clip) -> Float[Tensor, "B L"]:
        """Weight of each token in the loss: 1, and ``moving`` times the share of its pixels that move.

        Most of a clip stands still and is the same at all times, which is the easiest thing to predict;
        features then tell how a clip looks and not what happens in it (Sobal et al. 2022, 2211.10831).
        """
        config = self.model.config
        if not self.moving:
            return torch.ones(len(clip), self.times * self.side**2, device=self.device)
        token = (config.tubelet_size, config.patch_size, config.patch_size)
        moves = moving_pixels(clip.frames).float().transpose(1, 2)  # (B, 1, T, H, W)
        return 1 + self.moving * functional.avg_pool3d(moves, token).flatten(1)

    def loss(
        self,
        pixels: Float[Tensor, "B T 3 H W"],
        target: Float[Tensor, "B L D"],
        weight: Float[Tensor, "B L"],
        splits: list[Split],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Weighted L1 to the target at hidden places, and the share of it that the prediction explains.

        ``explained = 1 - loss / L1 of the median clip's target at each place``: zero for features that say
        nothing about their clip, whatever their scale. It means nothing for a batch of one clip.
        """
        patches = self.model.encoder.embeddings(pixels)
        spread = (target - target.median(dim=0).values).abs().mean(dim=-1)  # (B, L)
        loss, unexplained = pixels.new_zeros(()), pixels.new_zeros(())
        for visible, hidden in splits:
            seen = read_visible(self.model.encoder, patches, visible)
            made = predict_hidden(self.model.predictor, seen, visible, hidden)
            distance = (made - target.gather(1, hidden[..., None].expand_as(made))).abs().mean(dim=-1)
            share = weight.gather(1, hidden)
            share = share / share.sum()
            loss = loss + (share * distance).sum() / len(splits)
            nothing = (share * spread.gather(1, hidden)).sum()
            unexplained += (share * distance.detach()).sum() / nothing / len(splits)
        return loss, 1 - unexplained

    def watch(self, target: Float[Tensor, "B L D"]) -> None:
        """Log how much features differ between clips; warn, once, when they hardly do."""
        spread, rank = spread_and_rank(target)
        self.log_dict({"train/feature_std": spread, "train/feature_rank": rank}, batch_size=len(target))
        if not self._warned and (spread < LEAST_STD or rank < LEAST_RANK):
            self._warned = True
            warnings.warn(
                f"The features collapse: at step {self.global_step} their standard deviation over clips is "
                f"{spread:.3f} and their effective rank {rank:.1f} of {target.shape[-1]}. Lower lr or raise "
                "momentum.",
                stacklevel=2,
            )

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable | None = None
    ) -> None:
        """The teacher follows each step of the encoder, before any checkpoint of that step is written."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """``teacher <- momentum teacher + (1 - momentum) encoder``."""
        torch._foreach_lerp_(
            list(self.teacher.parameters()), list(self.model.encoder.parameters()), 1 - self.momentum
        )

    def configure_optimizers(self) -> dict:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        matrices = {"params": [parameter for parameter in trained if parameter.ndim > 1]}
        others = {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0}
        optimizer = torch.optim.AdamW(
            [matrices, others], lr=self.lr, betas=(0.9, 0.95), weight_decay=self.weight_decay
        )
        return scheduled(optimizer, self.warmup, self.trainer)

    # ---------------------------------------------------------------- export

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            self._export()

    def on_fit_end(self) -> None:
        self._export()

    def _export(self) -> None:
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.save(Path(self.trainer.log_dir) / "vjepa2")

    def save(self, folder: str | Path) -> None:
        """Teacher, predictor and processor in Hugging Face layout; the folder appears whole or not at all.

        Weights are stored in half precision, and computed with in single again wherever they are loaded.
        """
        state = {f"encoder.{name}": value for name, value in self.teacher.state_dict().items()}
        state |= {f"predictor.{name}": value for name, value in self.model.predictor.state_dict().items()}
        state = {name: value.half().contiguous() for name, value in state.items()}
        with replaced_folder(folder) as partial:
            self.model.save_pretrained(partial, state_dict=state)
            self.processor.save_pretrained(partial)


def spread_and_rank(features: Float[Tensor, "B L D"]) -> tuple[float, float]:
    """How much features differ between clips: their standard deviation, and their effective rank.

    Each place's mean over the clips is taken off first: features that only say where they are have collapsed
    too. The effective rank is ``exp(-sum p log p)``, p the normalized singular values (Roy and Vetterli 2007;
    Garrido et al. 2023, 2210.02885, eq. 1).
    """
    centered = (features - features.mean(dim=0)).flatten(0, 1).double()  # (B L, D)
    spread = (centered.square().mean() * len(features) / (len(features) - 1)).sqrt().item()
    singular = torch.linalg.eigvalsh(centered.T @ centered).clamp(min=0).sqrt()
    share = singular / singular.sum().clamp(min=1e-12)
    return spread, torch.special.entr(share).sum().exp().item()
