"""Sizes of an ImageBind."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass

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
