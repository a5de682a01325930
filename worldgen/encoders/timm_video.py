"""Tokens of any timm image backbone, frame by frame: the baseline that has never seen motion."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from worldgen.encoders.base import Encoder, Tokens
from worldgen.hub import require_hub
from worldgen.types import Clip


class TimmVideo(Encoder):
    """A frozen timm backbone (Wightman 2019, github.com/huggingface/pytorch-image-models) on each frame.

    Frames are resized, cropped and normalized as the model's own data config says. Class and register tokens
    are left out: every token is a patch or cell of the picture. Needs ``worldgen[timm]``.

    Args:
        model: timm's name, e.g. ``vit_base_patch16_224.mae``, or ``hf-hub:timm/...``.
        checkpoint: File of weights under timm's names (safetensors, or a pth that holds tensors only). When
            None the model's own pretrained weights are fetched.
        stride: Every so many frames one is looked at.
    """

    model: Any  # timm's backbones share no class of their own

    def __init__(self, model: str, checkpoint: Path | None = None, stride: int = 1) -> None:
        super().__init__()
        try:
            import timm
            from timm.data import create_transform, resolve_model_data_config
        except ImportError as error:
            raise ValueError("TimmVideo needs timm; install it: pip install 'worldgen[timm]'.") from error

        if stride < 1:
            raise ValueError(f"stride must be at least 1 frame; got {stride}.")
        config = timm.models.get_pretrained_cfg(model)
        if checkpoint is None and config is not None and config.hf_hub_id:
            require_hub(config.hf_hub_id)
        try:
            # With its classes: timm forgives tensors that miss when it is asked for another number of them.
            fetched = checkpoint is None
            classes = None if fetched else 0
            self.model = cast(Any, timm.create_model(model, pretrained=fetched, num_classes=classes))
            self.model.reset_classifier(0)
        except Exception as error:  # timm lets through whatever its parts raise
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"{model!r} must be a timm model whose weights can be had: {reason} "
                "Give `checkpoint` for weights that lie here."
            ) from error
        if checkpoint is not None:
            _load_weights(self.model, checkpoint)
        config = resolve_model_data_config(self.model)
        self.transform: Any = create_transform(**config, is_training=False)
        self.processing = repr(sorted(config.items()))  # what tokens depend on besides the weights
        self.stride = stride
        self.dim: int = self.model.num_features
        self.freeze()

    @torch.no_grad()
    def encode(self, clip: Clip) -> Tokens:
        """Tokens of every ``stride``-th frame, in order of time, row and column."""
        features = self._features(clip.frames[:, :: self.stride].flatten(0, 1))  # (B T, h, w, D)
        values = features.reshape(len(clip), -1, self.dim)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))

    @torch.no_grad()
    def positions(self, clip: Clip) -> Float[Tensor, "B L 3"]:
        """Where the tokens of `encode` lie: (t, y, x) of their centers.

        Returns:
            t in seconds since the first frame; y down and x right as shares of what the network sees, in
            (0, 1).
        """
        _, rows, columns, _ = self._features(clip.frames[:1, 0]).shape
        picks = torch.arange(0, clip.frames.shape[1], self.stride).to(clip.fps)
        y, x = ((torch.arange(count).to(clip.fps) + 0.5) / count for count in (rows, columns))
        return torch.stack([torch.cartesian_prod(picks / fps, y, x) for fps in clip.fps])

    def _features(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N h w D"]:
        features = self.model.forward_features(self.transform(images))
        if isinstance(features, Tensor) and features.ndim == 4 and features.shape[-1] == self.dim:
            return features
        if isinstance(features, Tensor) and features.ndim == 4 and features.shape[1] == self.dim:
            return features.permute(0, 2, 3, 1)
        if isinstance(features, Tensor) and features.ndim == 3 and features.shape[-1] == self.dim:
            patches = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
            side = math.isqrt(patches.shape[1])
            if side**2 == patches.shape[1]:
                return patches.unflatten(1, (side, side))
        raise ValueError(
            f"A timm backbone must give a map or a square grid of {self.dim} features per frame; "
            f"{type(self.model).__name__} does not. Choose another."
        )


def _load_weights(model: nn.Module, checkpoint: Path) -> None:
    """Every tensor of the model from a file, without running any code in it."""
    from timm.models import load_state_dict

    if not checkpoint.is_file():
        raise FileNotFoundError(f"checkpoint must be a file of weights; there is none at {checkpoint}.")
    try:
        state = load_state_dict(str(checkpoint), weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{checkpoint} must hold tensors and nothing else: {reason}") from error
    own = model.state_dict()
    wrong = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    if wrong:
        raise ValueError(
            f"{checkpoint} must hold {type(model).__name__}'s weights under timm's names and in its size; "
            f"{len(wrong)} of {len(own)} tensors miss or differ, {wrong[0]} first."
        )
    model.load_state_dict({name: state[name] for name in own})
