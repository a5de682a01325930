"""How the numbers of a cache are kept on disk: as they came, in half precision, or in bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Columns = tuple[Tensor, ...]
"""Tensors of a batch of clips, batch axis first; what each is, the caller knows."""


@dataclass(frozen=True)
class Storage(ABC):
    """From columns to the tensors that are written, and back.

    Args:
        pool: Tokens that are averaged into one before they are kept; 1 keeps them all. What is read back has
            the fewer tokens.

    Raises:
        ValueError: ``pool`` is not positive.
    """

    pool: int = 1

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise ValueError(f"A cache pools groups of at least 1 token; got {self.pool}.")

    def keep(self, columns: Columns) -> list[Tensor]:
        """The tensors to write."""
        return [part for column in pool_columns(columns, self.pool) for part in self._keep(column)]

    @abstractmethod
    def restore(self, kept: Sequence[Tensor]) -> Columns:
        """The columns again, from what `keep` returned."""

    @abstractmethod
    def _keep(self, column: Tensor) -> tuple[Tensor, ...]: ...


@dataclass(frozen=True)
class Exact(Storage):
    """The numbers as they came, bit for bit."""

    def restore(self, kept: Sequence[Tensor]) -> Columns:
        """The same tensors."""
        return tuple(kept)

    def _keep(self, column: Tensor) -> tuple[Tensor, ...]:
        return (column,)


@dataclass(frozen=True)
class Float16(Storage):
    """Half precision: a relative error of at most 2^-11 = 0.05 % above 6e-5; read back as float32."""

    def restore(self, kept: Sequence[Tensor]) -> Columns:
        """Float32 again."""
        return tuple(part.float() if part.is_floating_point() else part for part in kept)

    def _keep(self, column: Tensor) -> tuple[Tensor, ...]:
        if not column.is_floating_point():
            return (column,)
        if bool((column.abs() > torch.finfo(torch.float16).max).any()):
            raise ValueError(
                f"Float16 holds numbers up to 65504; got {column.abs().max():.4g}. Keep this cache exact."
            )
        return (column.half(),)


@dataclass(frozen=True)
class Int8(Storage):
    """A byte for each number and a scale for each row: an error of at most 1/254 of the row's largest number.

    A row is a token, or the (h w) map of a latent channel.
    """

    def restore(self, kept: Sequence[Tensor]) -> Columns:
        """Float32 again."""
        pairs = zip(kept[::2], kept[1::2], strict=True)
        return tuple(number.float() * scale if scale.numel() else number for number, scale in pairs)

    def _keep(self, column: Tensor) -> tuple[Tensor, ...]:
        if not column.is_floating_point():
            return column, torch.empty(0)
        row = (-2, -1) if column.ndim > 3 else (-1,)
        scale = column.float().abs().amax(dim=row, keepdim=True) / 127
        number = (column / scale.clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.int8)
        return number, scale


def pool_columns(columns: Columns, group: int) -> Columns:
    """The columns with their tokens pooled, which are a float (B L D) before its bool (B L) mask."""
    pooled = list(columns)
    for place in range(len(columns) - 1 if group > 1 else 0):
        values, mask = columns[place], columns[place + 1]
        if values.is_floating_point() and mask.dtype == torch.bool and mask.shape == values.shape[:2]:
            pooled[place : place + 2] = pool_tokens(values, mask, group)
    return tuple(pooled)


def pool_tokens(
    values: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], group: int
) -> tuple[Float[Tensor, "B l D"], Bool[Tensor, "B l"]]:
    """The mean of the real tokens of each ``group`` that follow each other; real where any of them is."""
    spare = -values.shape[1] % group
    values = torch.nn.functional.pad(values, (0, 0, 0, spare)).unflatten(1, (-1, group))  # (B, l, group, D)
    real = torch.nn.functional.pad(mask, (0, spare)).unflatten(1, (-1, group))  # (B, l, group)
    total = (values * real[..., None]).sum(dim=2)
    return total / real.sum(dim=2).clamp(min=1)[..., None], real.any(dim=2)


def storage_errors(columns: Columns, storage: Storage) -> tuple[float, ...]:
    """What a storage loses of each column: rms of the difference over rms of the numbers; 0 for nothing lost.

    Pooled tokens stand for each of the real tokens that went into them.
    """
    restored = list(storage.restore(storage.keep(columns)))
    errors = []
    for place, (column, kept) in enumerate(zip(columns, restored, strict=True)):
        if kept.shape != column.shape:  # pooled tokens or their mask
            kept = kept.repeat_interleave(storage.pool, dim=1)[:, : column.shape[1]]
        if column.is_floating_point() and place + 1 < len(columns) and storage.pool > 1:
            mask = columns[place + 1]
            if mask.dtype == torch.bool and mask.shape == column.shape[:2]:
                column, kept = column[mask], kept[mask]
        errors.append(relative_error(kept, column) if column.is_floating_point() else 0.0)
    return tuple(errors)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Rms of the difference over rms of what is expected."""
    difference, size = (found.double() - expected.double()).norm(), expected.double().norm()
    return float(difference / size) if size else float(difference)
