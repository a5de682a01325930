"""Published sizes of diffusion transformers, and sizes for video, as class paths of yaml.

The patch is an argument: ``patch: [1, 2, 2]`` of a DiT-XL is the published XL/2.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from worldgen.diffusion.denoisers.attention import Attention, FactorizedAttention
from worldgen.diffusion.denoisers.peebles import AdaLNZeroDiT
from worldgen.diffusion.dit import DiT


class Size(NamedTuple):
    """Of a transformer."""

    dim: int
    depth: int
    heads: int


class DiTS(AdaLNZeroDiT):
    """DiT-S of Peebles & Xie (2023, 2212.09748, table 1); without attention of another kind, as published.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        patch: Latent cells in a token along (T, H, W).
        attention: Which tokens see each other; None is all.
        cells: Cells of the latent along (T, H, W) whose positions are kept with the weights; published for
            one frame of 32 x 32. None keeps none.
        outputs: Latents that the head makes; published with 2, the second one a learned variance.
    """

    size: ClassVar[Size] = Size(384, 12, 6)

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        patch: tuple[int, int, int] = (1, 2, 2),
        attention: Attention | None = None,
        cells: tuple[int, int, int] | None = None,
        outputs: int = 1,
    ) -> None:
        native = None
        if cells is not None:
            if any(cell % along for cell, along in zip(cells, patch, strict=True)):
                raise ValueError(f"DiT.cells must divide into patches of {tuple(patch)}; got {tuple(cells)}.")
            native = (cells[0] // patch[0], cells[1] // patch[1], cells[2] // patch[2])
        super().__init__(
            channels, context_channels, condition_dim, *self.size, patch, attention, native, outputs
        )


class DiTB(DiTS):
    """DiT-B; arguments as of `DiTS`."""

    size = Size(768, 12, 12)


class DiTL(DiTS):
    """DiT-L; arguments as of `DiTS`."""

    size = Size(1024, 24, 16)


class DiTXL(DiTS):
    """DiT-XL; arguments as of `DiTS`."""

    size = Size(1152, 28, 16)


class LatteS(DiTS):
    """Latte-S (Ma et al. 2024, 2401.03048): DiT-S whose layers look at space and time in turn.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        patch: Latent cells in a token along (T, H, W).
        cells: Cells of the latent along (T, H, W) whose positions are kept with the weights; published for
            16 frames of 32 x 32. None keeps none.
        outputs: Latents that the head makes; published with 2, the second one a learned variance.
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        patch: tuple[int, int, int] = (1, 2, 2),
        cells: tuple[int, int, int] | None = None,
        outputs: int = 1,
    ) -> None:
        super().__init__(
            channels, context_channels, condition_dim, patch, FactorizedAttention(), cells, outputs
        )


class LatteB(LatteS):
    """Latte-B; arguments as of `LatteS`."""

    size = DiTB.size


class LatteL(LatteS):
    """Latte-L; arguments as of `LatteS`."""

    size = DiTL.size


class LatteXL(LatteS):
    """Latte-XL; arguments as of `LatteS`."""

    size = DiTXL.size


class VideoDiT1B(DiT):
    """Our `DiT` with about a billion parameters, for one GPU.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        patch: Latent cells in a token along (T, H, W).
        attention: Which tokens see each other; None is all.
    """

    size: ClassVar[Size] = Size(1536, 28, 12)

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        patch: tuple[int, int, int] = (1, 2, 2),
        attention: Attention | None = None,
    ) -> None:
        super().__init__(channels, context_channels, condition_dim, *self.size, patch, attention)


class VideoDiT2B(VideoDiT1B):
    """About two billion parameters; arguments as of `VideoDiT1B`."""

    size = Size(2048, 32, 16)


class VideoDiT5B(VideoDiT1B):
    """About five billion parameters, for FSDP; arguments as of `VideoDiT1B`."""

    size = Size(3072, 36, 24)


class VideoDiT11B(VideoDiT1B):
    """About eleven billion parameters, for FSDP over many GPUs; arguments as of `VideoDiT1B`."""

    size = Size(4096, 44, 32)
