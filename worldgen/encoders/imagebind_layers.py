"""The networks of ImageBind: a stem, a trunk and a head per modality, all of which end in one space.

Parameter names are those of the published model, so that its state dict loads key for key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

MODALITIES = ("vision", "text", "audio", "depth", "thermal", "imu")


@dataclass(frozen=True)
class Tower:
    """Size of one modality's transformer."""

    dim: int
    blocks: int
    heads: int


@dataclass(frozen=True)
class ImageBindConfig:
    """Sizes of a model; the defaults are those of ``imagebind_huge``. A tower that is None is not there."""

    vision: Tower = Tower(1280, 32, 16)
    text: Tower | None = Tower(1024, 24, 16)
    audio: Tower | None = Tower(768, 12, 12)
    depth: Tower | None = Tower(384, 12, 8)
    thermal: Tower | None = Tower(768, 12, 12)
    imu: Tower | None = Tower(512, 6, 8)
    out_dim: int = 1024
    image_size: int = 224
    """Rows and columns of frames, depth and thermal pictures."""
    patch: int = 14
    """Of frames; a patch of video is two frames deep."""
    sensor_patch: int = 16
    """Of depth and thermal pictures."""
    mel_bins: int = 128
    mel_frames: int = 204
    audio_patch: int = 16
    audio_stride: int = 10
    imu_length: int = 2000
    imu_patch: int = 8
    vocabulary: int = 49408
    context: int = 77
    """Longest prompt in tokens, its start and end included."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            sizes = vars(value).values() if is_dataclass(value) else () if value is None else (value,)
            if not all(isinstance(size, int) and size > 0 for size in sizes):
                raise ValueError(f"ImageBindConfig.{field.name} must be positive integers; got {value}.")
        for name in self.modalities:
            tower = getattr(self, name)
            if tower.dim % tower.heads:
                raise ValueError(
                    f"ImageBindConfig.{name}: dim must be a multiple of heads; got {tower.dim} and "
                    f"{tower.heads}."
                )
        if self.image_size % self.patch or self.image_size % self.sensor_patch:
            raise ValueError(
                f"ImageBindConfig.image_size must be a multiple of patch and sensor_patch; got "
                f"{self.image_size}, {self.patch} and {self.sensor_patch}."
            )

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that have a tower, in the order of `MODALITIES`."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)


HUGE = ImageBindConfig()


class ImageBindModel(nn.Module):
    """ImageBind (Girdhar et al. 2023, 2305.05665): six transformers that were bound to vision.

    Stochastic depth, which the authors trained audio and IMU with, is left out: it has no parameters and is
    off outside of training.

    Args:
        config: Sizes.
    """

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        self.config = config
        stems: dict[str, nn.Module] = {"vision": _vision_stem(config)}
        if config.text:
            stems["text"] = _TextStem(config.vocabulary, config.context, config.text.dim)
        if config.audio:
            stems["audio"] = _audio_stem(config, config.audio.dim)
        if config.depth:
            stems["depth"] = _sensor_stem(config, config.depth.dim, "depth_stem")
        if config.thermal:
            stems["thermal"] = _sensor_stem(config, config.thermal.dim, "rgbt_stem")
        if config.imu:
            stems["imu"] = _ImuStem(config.imu_length, config.imu_patch, config.imu.dim)
        towers = {name: getattr(config, name) for name in config.modalities}
        self.modality_preprocessors = nn.ModuleDict({name: stems[name] for name in towers})
        self.modality_trunks = nn.ModuleDict(
            {
                name: _Trunk(tower, first_norm=name == "vision", bias_kv=name not in ("vision", "text"))
                for name, tower in towers.items()
            }
        )
        self.modality_heads = nn.ModuleDict(
            {name: _head(name, tower.dim, config.out_dim) for name, tower in towers.items()}
        )
        self.modality_postprocessors = nn.ModuleDict({name: _scale(name) for name in towers})

    def forward(
        self, modality: str, x: Float[Tensor, "B ..."] | Int[Tensor, "B ..."]
    ) -> Float[Tensor, "B D"]:
        """Embeddings as the published model returns them: unit vectors times the modality's logit scale.

        Args:
            modality: One of the config's.
            x: vision (B 3 T H W) with T of 1 or 2, or (B 3 H W); text (B L) token ids; audio (B 1 mel
                frames); depth and thermal (B 1 H W); imu (B 6 S).

        Raises:
            ValueError: If there is no such tower, or ``x`` has another size than the config says.
        """
        return self.modality_postprocessors[modality](self.embed(modality, x))

    def embed(self, modality: str, x: Float[Tensor, "B ..."] | Int[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Embeddings before they are normalized; arguments and errors as in `forward`."""
        self._require(modality, x)
        tokens = self.modality_preprocessors[modality](x)
        tokens = self.modality_trunks[modality](tokens, self.attention_mask(modality))
        head = self.modality_heads[modality]
        return head(tokens, x.argmax(dim=-1)) if modality == "text" else head(tokens)

    def attention_mask(self, modality: str) -> Float[Tensor, "L L"] | None:
        """What is added to the attention of a trunk: text looks back only."""
        stem = self.modality_preprocessors[modality]
        return stem.mask if isinstance(stem, _TextStem) else None

    def _require(self, modality: str, x: Tensor) -> None:
        c = self.config
        if modality not in c.modalities:
            raise ValueError(
                f"This ImageBind must have the modality it is asked for; got {modality!r}, it "
                f"has {c.modalities}."
            )
        side = c.image_size
        allowed = {
            "vision": [(3, 1, side, side), (3, 2, side, side), (3, side, side)],
            "text": [(c.context,)],
            "audio": [(1, c.mel_bins, c.mel_frames)],
            "depth": [(1, side, side)],
            "thermal": [(1, side, side)],
            "imu": [(6, c.imu_length)],
        }[modality]
        if tuple(x.shape[1:]) not in allowed:
            raise ValueError(
                f"ImageBind's {modality} must have shape (B, {', '.join(map(str, allowed[0]))}); "
                f"got {tuple(x.shape)}."
            )


class _Patches(nn.Module):
    """Non-overlapping or overlapping patches, as a list of tokens."""

    def __init__(self, proj: nn.Module, norm: nn.LayerNorm | None) -> None:
        super().__init__()
        self.proj = proj
        self.norm_layer = norm

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B L D"]:
        x = self.proj(x).flatten(2).transpose(1, 2)
        return x if self.norm_layer is None else self.norm_layer(x)


class _AsVideo(nn.Module):
    """A picture becomes a video of two equal frames."""

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B 3 2 H W"]:
        x = x if x.ndim == 5 else x.unsqueeze(2)
        return x if x.shape[2] == 2 else x.expand(-1, -1, 2, -1, -1)


class _Positions(nn.Module):
    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, count, dim) * dim**-0.5)


class _PictureStem(nn.Module):
    """Patches behind a class token, with learned positions.

    Args:
        patches: What makes patches of the input.
        count: How many it makes.
        dim: Their width.
        name: Under which name the published model keeps ``patches``.
    """

    def __init__(self, patches: _Patches, count: int, dim: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.add_module(name, patches)
        self.pos_embedding_helper = _Positions(count + 1, dim)

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B L D"]:
        tokens = self.get_submodule(self.name)(x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        return tokens + self.pos_embedding_helper.pos_embed


class _TextStem(nn.Module):
    mask: Tensor

    def __init__(self, vocabulary: int, context: int, dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, dim)
        self.pos_embed = nn.Parameter(torch.randn(1, context, dim) * 0.01)
        self.register_buffer("mask", torch.full((context, context), -torch.inf).triu(1))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, x: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        return self.token_embedding(x) + self.pos_embed


class _ImuStem(nn.Module):
    """Each ``patch`` samples of all six channels are one token."""

    def __init__(self, length: int, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.pos_embed = nn.Parameter(torch.randn(1, length // patch + 1, dim) * 0.01)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.imu_stem = nn.ModuleDict(
            {"proj": nn.Linear(6 * patch, dim, bias=False), "norm_layer": nn.LayerNorm(dim)}
        )

    def forward(self, x: Float[Tensor, "B 6 S"]) -> Float[Tensor, "B L D"]:
        windows = x.unfold(-1, self.patch, self.patch).transpose(1, 2).flatten(2)  # (B, L, 6 patch)
        tokens = self.imu_stem["norm_layer"](self.imu_stem["proj"](windows))
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embed


def _vision_stem(config: ImageBindConfig) -> _PictureStem:
    kernel = (2, config.patch, config.patch)
    proj = nn.Conv3d(3, config.vision.dim, kernel, stride=kernel, bias=False)
    patches = _Patches(nn.Sequential(_AsVideo(), proj), None)
    return _PictureStem(patches, (config.image_size // config.patch) ** 2, config.vision.dim, "rgbt_stem")


def _audio_stem(config: ImageBindConfig, dim: int) -> _PictureStem:
    kernel, stride = config.audio_patch, config.audio_stride
    patches = _Patches(nn.Conv2d(1, dim, kernel, stride=stride, bias=False), nn.LayerNorm(dim))
    rows, columns = ((size - kernel) // stride + 1 for size in (config.mel_bins, config.mel_frames))
    return _PictureStem(patches, rows * columns, dim, "rgbt_stem")


def _sensor_stem(config: ImageBindConfig, dim: int, name: str) -> _PictureStem:
    patch = config.sensor_patch
    patches = _Patches(nn.Conv2d(1, dim, patch, stride=patch, bias=False), nn.LayerNorm(dim))
    return _PictureStem(patches, (config.image_size // patch) ** 2, dim, name)


class _Trunk(nn.Module):
    def __init__(self, tower: Tower, first_norm: bool, bias_kv: bool) -> None:
        super().__init__()
        first = nn.LayerNorm(tower.dim, eps=1e-6) if first_norm else nn.Identity()
        self.pre_transformer_layer = nn.Sequential(first)
        self.blocks = nn.ModuleList(_Block(tower.dim, tower.heads, bias_kv) for _ in range(tower.blocks))

    def forward(self, x: Float[Tensor, "B L D"], mask: Float[Tensor, "L L"] | None) -> Float[Tensor, "B L D"]:
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class _Block(nn.Module):
    """Attention, then two layers; with ``bias_kv`` one learned key and value more is attended to."""

    def __init__(self, dim: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, add_bias_kv=bias_kv, batch_first=True)
        self.norm_1 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = _FeedForward(dim)
        self.norm_2 = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Float[Tensor, "B L D"], mask: Float[Tensor, "L L"] | None) -> Float[Tensor, "B L D"]:
        y = self.norm_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.norm_2(x))


class _FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self.fc2(F.gelu(self.fc1(x)))


class _ClassToken(nn.Module):
    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B D"]:
        return x[:, 0]


class _TextHead(nn.Module):
    """The end-of-text token says what the prompt says; it is the one with the highest id."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, out_dim, bias=False))

    def forward(self, x: Float[Tensor, "B L D"], last: Int[Tensor, " B"]) -> Float[Tensor, "B out"]:
        return self.proj(x[torch.arange(len(x), device=x.device), last])


def _head(modality: str, dim: int, out_dim: int) -> nn.Module:
    if modality == "text":
        return _TextHead(dim, out_dim)
    drop = [nn.Dropout(0.5)] if modality == "imu" else []
    return nn.Sequential(
        nn.LayerNorm(dim, eps=1e-6), _ClassToken(), *drop, nn.Linear(dim, out_dim, bias=False)
    )


class _Normalize(nn.Module):
    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return F.normalize(x, dim=-1)


class _LogitScale(nn.Module):
    """Scale of the cosine in the contrastive loss, at most 100; learned for text only."""

    def __init__(self, scale: float, learned: bool) -> None:
        super().__init__()
        value = torch.tensor(math.log(scale))
        if learned:
            self.log_logit_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_logit_scale", value)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return x * self.log_logit_scale.exp().clamp(max=100)


def _scale(modality: str) -> nn.Module:
    if modality == "vision":
        return _Normalize()
    start = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}[modality]
    return nn.Sequential(_Normalize(), _LogitScale(start, learned=modality == "text"))
