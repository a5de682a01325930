"""V-JEPA 2 video tokens, from any checkpoint that transformers loads, and what it predicts comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldgen.encoders.adapters import Adapter
from worldgen.encoders.base import AdaptableEncoder, Tokens, require_folder
from worldgen.hub import PUBLISHED, is_here, only_sizes
from worldgen.types import Clip

if TYPE_CHECKING:
    from transformers import VJEPA2Model
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder, VJEPA2Predictor


class VJEPA2(AdaptableEncoder):
    """Frozen V-JEPA 2 (Assran et al. 2025, 2506.09985): a token per tubelet and patch.

    The checkpoint's own video processor resizes each frame (shorter side to 256/224 of the crop), cuts out
    the middle and normalizes: what lies at the border of the picture is not seen, unless the processor is
    saved with ``do_resize`` off, when the shorter side becomes the crop itself. Frames of another size,
    smaller ones too, are brought to the checkpoint's. A clip may be short, of one frame even: its last frame
    is repeated until a tubelet is full. A longer clip than ``frames`` is sampled evenly.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout, e.g. ``facebook/vjepa2-vitl-fpc64-256``.
        size: Side in pixels of what the network sees, a multiple of its patch; the checkpoint's when None.
            Positions are rotary, so that any side works, but the weights were made at the checkpoint's.
        frames: Most frames that are looked at; the checkpoint's number when None.
        adapter: The part that learns, on the encoder and not on the predictor.
    """

    model: VJEPA2Model

    def __init__(
        self,
        checkpoint: str,
        size: int | None = None,
        frames: int | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        from transformers import AutoConfig, VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

        if frames is not None and frames < 1:
            raise ValueError(f"frames must be at least 1; got {frames}.")
        known = only_sizes() and not is_here(checkpoint) and checkpoint in PUBLISHED
        if not known:
            require_folder(checkpoint, "A V-JEPA 2", "Give another path or an id.")
        try:
            if known:
                config = VJEPA2Config(**PUBLISHED[checkpoint].config)
            else:
                config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
            if config.model_type != "vjepa2":
                raise ValueError(f"its config.json says {config.model_type!r}")
            config.crop_size = side = int(config.crop_size if size is None else size)
            settings = {} if known else VJEPA2VideoProcessor.get_video_processor_dict(checkpoint)[0]
            settings["crop_size"] = side
            self.processor = VJEPA2VideoProcessor(**settings)
            if not self.processor.do_resize:
                self.processor.do_resize, self.processor.size = True, {"shortest_edge": side}
            if only_sizes():
                self.model, found = VJEPA2Model(config), {"missing_keys": []}  # pyright: ignore[reportArgumentType]
            else:
                self.model, found = VJEPA2Model.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                    checkpoint, config=config, output_loading_info=True, dtype=torch.float32
                )
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = " ".join(str(error).split()).split(". ")[0][:300]
            raise ValueError(
                f"{checkpoint!r} must be a V-JEPA 2 checkpoint (id or folder): {reason}"
            ) from error
        if found["missing_keys"]:
            raise ValueError(
                f"{checkpoint!r} must hold a whole V-JEPA 2; {len(found['missing_keys'])} tensors miss, "
                f"{min(found['missing_keys'])} first."
            )
        if side % config.patch_size or side < config.patch_size:
            raise ValueError(f"size must be a multiple of the patch, {config.patch_size} pixels; got {side}.")
        self.dim: int = config.hidden_size
        self.tubelet: int = config.tubelet_size
        self.grid: int = side // config.patch_size
        self.frames = frames or self.processor.num_frames or config.frames_per_clip
        self.processing = self.processor.to_json_string()  # what tokens depend on besides the weights
        self.adapt(adapter)

    def inputs(self, clip: Clip) -> Tokens:
        """Pixels (B T 3 size size) as the network is given them."""
        return self._pixels(clip.frames)

    def read(self, inputs: Tokens) -> Tokens:
        """Tokens of the clip in order of time, row and column; every one of them has seen the whole clip."""
        return _all_real(self.model.encoder(inputs.values.to(self.model.device)).last_hidden_state)

    def context_only(self, clip: Clip, frames: int) -> Tokens:
        """Tokens of the first frames, made without a look at the others.

        Raises:
            ValueError: If the clip has fewer frames.
        """
        if not 1 <= frames <= clip.frames.shape[1]:
            raise ValueError(
                f"context must lie in 1 .. {clip.frames.shape[1]} frames, the clip's length; got {frames}."
            )
        return self._run(self._pixels(clip.frames[:, :frames]))

    @torch.no_grad()
    def predict(self, clip: Clip, context: int, target: int) -> Tokens:
        """What the predictor expects of the frames after the context, from the context alone.

        transformers' own ``forward`` masks after its encoder, whose context tokens have then attended to the
        very frames that are to be predicted. Here only the context is encoded, and the clip need not hold
        the target frames. Training matched predictions to *layer-normalized* tokens of the whole clip:
        normalize those of `encode` before comparing.

        Args:
            clip: What is known.
            context: Number of known first frames.
            target: Number of frames to predict.

        Returns:
            Tokens of the target frames.

        Raises:
            ValueError: If either is not a whole number of tubelets, the clip has fewer than ``context``
                frames, or both together are more than ``frames``.
        """
        for name, count in (("context", context), ("target", target)):
            if count < self.tubelet or count % self.tubelet:
                raise ValueError(
                    f"{name} must be a multiple of {self.tubelet} frames, a tubelet; got {count}."
                )
        if context + target > self.frames:
            raise ValueError(
                f"context and target must be at most {self.frames} frames together; got {context} + {target}."
                " Predict fewer, or give this encoder more `frames`."
            )
        seen = self.context_only(clip, context).values
        count = (context + target) // self.tubelet * self.grid**2
        places = torch.arange(count, device=seen.device).expand(len(seen), -1)
        first = seen.shape[1]
        return _all_real(predict_hidden(self.model.predictor, seen, places[:, :first], places[:, first:]))

    def positions(self, clip: Clip) -> Float[Tensor, "B L 3"]:
        """Where the tokens of `encode` lie: (t, y, x) of their centers.

        Returns:
            t in seconds since the first frame; y down and x right as shares of what the network sees, in
            (0, 1).
        """
        picks = self._picks(clip.frames.shape[1]).to(clip.fps)
        t = picks.unflatten(0, (-1, self.tubelet)).mean(dim=1) / clip.fps[:, None]  # (B, T / tubelet)
        side = (torch.arange(self.grid).to(t) + 0.5) / self.grid
        cells = torch.cartesian_prod(side, side)  # (grid^2, 2), rows outermost
        t = t.repeat_interleave(len(cells), dim=1)
        return torch.cat([t[..., None], cells.repeat(t.shape[1] // len(cells), 1).expand(len(t), -1, -1)], -1)

    def _pixels(self, frames: Float[Tensor, "B T 3 H W"]) -> Tokens:
        frames = frames[:, self._picks(frames.shape[1]).to(frames.device)]
        pixels = self.processor(list(frames), do_rescale=False, do_sample_frames=False, return_tensors="pt")[
            "pixel_values_videos"
        ]
        return Tokens(pixels, torch.ones(len(pixels), 1, dtype=torch.bool))

    def _picks(self, frames: int) -> Int[Tensor, " N"]:
        """Which frames are looked at: evenly sampled, the last one repeated until tubelets are full."""
        looked = min(frames, self.frames)
        picks = torch.arange(looked) * frames // looked
        return torch.cat([picks, picks[-1:].expand(-looked % self.tubelet)])


def read_visible(
    encoder: VJEPA2Encoder, patches: Float[Tensor, "B L D"], visible: Int[Tensor, "B V"]
) -> Float[Tensor, "B V D"]:
    """What the encoder makes of some patches alone: the others are dropped before its first layer.

    transformers' own encoder always reads all of them. Its layers take the places of the tokens that they are
    given, for the rotary positions.

    Args:
        encoder: The network.
        patches: What ``encoder.embeddings`` made of the pixels; it looks at each patch alone.
        visible: Places of the patches that are seen, counted in order of time, row and column.
    """
    tokens = _at(patches, visible)
    for layer in encoder.layer:
        tokens = layer(tokens, visible)[0]
    return encoder.layernorm(tokens)


def predict_hidden(
    predictor: VJEPA2Predictor,
    seen: Float[Tensor, "B V D"],
    visible: Int[Tensor, "B V"],
    hidden: Int[Tensor, "B H"],
) -> Float[Tensor, "B H D"]:
    """What the predictor expects at hidden places, from tokens of the visible ones alone.

    Args:
        predictor: The network.
        seen: Tokens, made without a look at the hidden places.
        visible: Their places.
        hidden: The places to predict.
    """
    # The library's predictor picks the visible tokens out of all of them: the others are there as zeros.
    places = int(max(visible.max(), hidden.max())) + 1
    spread = seen.new_zeros(len(seen), places, seen.shape[-1]).scatter(1, _wide(visible, seen), seen)
    return predictor(spread, context_mask=[visible], target_mask=[hidden]).last_hidden_state


def _at(tokens: Float[Tensor, "B L D"], places: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
    return tokens.gather(1, _wide(places, tokens))


def _wide(places: Int[Tensor, "B N"], tokens: Float[Tensor, "B L D"]) -> Int[Tensor, "B N D"]:
    return places[..., None].expand(-1, -1, tokens.shape[-1])


def _all_real(values: Float[Tensor, "B L D"]) -> Tokens:
    return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
