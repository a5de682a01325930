"""diffusers' 3-D U-Net behind the call of a denoiser."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.base import Denoiser, Residuals, zeroed
from worldgen.types import Conditioning


class UNet(Denoiser):
    """Convolutions and attention over each frame at several resolutions, and over each place through time.

    diffusers' ``UNet3DConditionModel`` (Wang et al. 2023, 2308.06571). The pooled condition is one token more
    that it attends to. What looks across frames adds nothing at first, so that the weights of an image U-Net
    (``UNet2DConditionModel`` with linear projections, whose names are the same) give that model, frame by
    frame (Video LDM, Blattmann et al. 2023, 2304.08818). Its ``attention_head_dim`` must say, for each width,
    ``width // head_dim``: there it is how many heads, and here how large they are.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        widths: Channels at each resolution, each half as fine as the one before; multiples of ``head_dim``.
        layers: Residual blocks at each.
        head_dim: Channels of an attention head.
        norm_groups: Groups of channels that are normalized together; divides each width.

    Raises:
        ValueError: Heads or groups do not divide the widths.
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        widths: tuple[int, ...] = (32, 64, 96),
        layers: int = 1,
        head_dim: int = 16,
        norm_groups: int = 16,
    ) -> None:
        super().__init__()
        for name, parts in (("head_dim", head_dim), ("norm_groups", norm_groups)):
            if any(width % parts for width in widths):
                raise ValueError(
                    f"UNet.{name} must divide every width; got {parts} and {list(widths)}. Choose another."
                )
        attending, last = len(widths) - 1, ("DownBlock3D",)
        self.network = UNet3DConditionModel(
            in_channels=channels + context_channels,
            out_channels=channels,
            down_block_types=("CrossAttnDownBlock3D",) * attending + last,
            up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * attending,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            norm_num_groups=norm_groups,
            cross_attention_dim=condition_dim,
            attention_head_dim=head_dim,
        )
        self._seen = _MaskedCondition()
        for name, module in self.network.named_modules():
            if isinstance(module, Attention) and module.is_cross_attention:
                module.set_processor(self._seen)  # pyright: ignore[reportArgumentType]
            elif isinstance(module, nn.Dropout):
                module.p = 0.0  # noise is drawn by who trains, and nowhere else
            elif name == "transformer_in.proj_out" or "temp_attentions" in name and name.endswith("proj_out"):
                zeroed(module)  # as their convolutions through time are already
        zeroed(self.network.conv_out)

    def forward(
        self,
        x: Float[Tensor, "B T C H W"],
        sigma: Float[Tensor, " B"],
        context: Float[Tensor, "B T K H W"],
        condition: Conditioning,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B T C H W"]:
        self._refuse(residuals)
        tokens = torch.cat([condition.tokens, condition.pooled[:, None]], dim=1)
        mask = F.pad(condition.mask, (0, 1), value=True)
        self._seen.mask = mask.repeat_interleave(x.shape[1], dim=0)[:, None]  # (B T, 1, S)
        laid = torch.cat([x, context], dim=2).transpose(1, 2)  # (B, C + K, T, H, W)
        return self.network(laid, sigma * 1000, tokens, return_dict=False)[0].transpose(1, 2)


class _MaskedCondition:
    """Attention to a condition of which not every token is real: the U-Net itself takes no mask of it."""

    def __init__(self) -> None:
        self.mask: Bool[Tensor, "R 1 S"] | None = None
        self._attend = AttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        return self._attend(attn, hidden_states, encoder_hidden_states, self.mask)
