"""Costs of denoisers: kinds of attention over tokens, packed rows, published sizes.

Run: OMP_NUM_THREADS=1 python benchmarks/denoisers.py [attention packing sizes] [--rounds 5 --tokens 1024]
All sides of a table run in one process, in turn; medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from worldgen.diffusion.denoisers import presets
from worldgen.diffusion.denoisers.attention import (
    Attention,
    FactorizedAttention,
    FullAttention,
    TokenLayout,
    WindowAttention,
    attend,
)
from worldgen.diffusion.dit import SelfAttention, rotary_of

DIM, HEADS = 192, 6
KINDS: dict[str, Attention] = {
    "full": FullAttention(),
    "factorized": FactorizedAttention(),
    "windows": WindowAttention((8, 8), (4, 4, 4)),
}
ROWS = {
    "16 alike": ((4, 4, 4),) * 16,
    "8 mixed": ((6, 4, 4), (6, 2, 2), (4, 4, 4), (2, 4, 4), (8, 4, 4), (6, 4, 4), (3, 4, 4), (1, 4, 4)),
    "4 long": ((8, 8, 8), (16, 8, 8), (12, 8, 8), (4, 8, 8)),
}
"""Clips of packed rows, by their tokens along (T, H, W)."""


def medians(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each step, all of them in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def attention(rounds: int, tokens: list[int]) -> Table:
    """Forward and backward of two layers, one of each half where a kind has halves."""
    table = Table("tokens", "grid", *(f"{name}, ms" for name in KINDS), *(f"full / {name}" for name in KINDS))
    for wanted in tokens:
        side = 16 if wanted >= 2048 else 8
        layout = TokenLayout(((max(1, wanted // side**2), side, side),))
        layer = SelfAttention(DIM, HEADS)
        x = torch.randn(1, sum(layout.lengths), DIM)
        rotary = rotary_of(layout, x, DIM // HEADS)

        def step(kind: Attention, layer=layer, x=x, layout=layout, rotary=rotary) -> None:
            for half in range(2):
                layer(x, layout.groups(kind, half), rotary).square().mean().backward()

        found = medians({name: partial(step, kind) for name, kind in KINDS.items()}, rounds)
        grid = "x".join(map(str, layout.grids[0]))
        ratios = (f"{found['full'] / seconds:.2f}" for seconds in found.values())
        table.add_row(
            f"{sum(layout.lengths):,}", grid, *(f"{seconds * 1e3:.0f}" for seconds in found.values()), *ratios
        )
    return table


def packing(rounds: int) -> Table:
    """Attention of packed rows, forward and backward: group by group, under a mask, jagged."""
    table = Table("row", "tokens", "by group, ms", "mask / by group", "jagged nested / by group")
    for name, grids in ROWS.items():
        layout = TokenLayout(grids)
        lengths = torch.tensor(layout.lengths)
        groups = layout.groups(KINDS["full"], 0)
        qkv = [torch.randn(1, HEADS, sum(layout.lengths), DIM // HEADS, requires_grad=True) for _ in range(3)]
        clip = torch.arange(len(lengths)).repeat_interleave(lengths)

        def by_group(qkv=qkv, groups=groups) -> Tensor:
            return groups.restore(attend(*(groups.arrange(x, dim=2) for x in qkv), groups), dim=2)

        def masked(qkv=qkv, clip=clip) -> Tensor:
            return F.scaled_dot_product_attention(*qkv, attn_mask=clip[:, None] == clip)

        def jagged(qkv=qkv, lengths=lengths) -> Tensor:
            offsets = F.pad(lengths.cumsum(0), (1, 0))
            rows = (x[0].transpose(0, 1).contiguous() for x in qkv)
            nested = (torch.nested.nested_tensor_from_jagged(x, offsets).transpose(1, 2) for x in rows)
            attended = F.scaled_dot_product_attention(*nested)
            return attended.transpose(1, 2).values().transpose(0, 1)[None]

        paths = (by_group, masked, jagged)
        for path in paths[1:]:
            torch.testing.assert_close(path(), by_group(), atol=1e-5, rtol=1e-5)
        steps = {path.__name__: (lambda path=path: path().square().mean().backward()) for path in paths}
        ours, *others = medians(steps, rounds).values()
        table.add_row(
            name, f"{int(lengths.sum()):,}", f"{ours * 1e3:.1f}", *(f"{other / ours:.1f}" for other in others)
        )
    return table


def sizes() -> Table:
    """Parameters of published and of large sizes, without their memory."""
    table = Table("size", "parameters")
    dit, video = {"cells": (1, 32, 32), "outputs": 2}, {"cells": (16, 32, 32), "outputs": 2}
    published = [presets.DiTS, presets.DiTB, presets.DiTL, presets.DiTXL]
    lattes = [presets.LatteS, presets.LatteB, presets.LatteL, presets.LatteXL]
    large = [presets.VideoDiT1B, presets.VideoDiT2B, presets.VideoDiT5B, presets.VideoDiT11B]
    with torch.device("meta"):
        for patch in (2, 4, 8):
            for kind in published:
                model = kind(4, 0, 1000, (1, patch, patch), **dit)
                table.add_row(f"{kind.__name__}/{patch}, 1000 classes", f"{_count(model):,}")
        for kind in lattes:
            table.add_row(f"{kind.__name__}/2, 101 classes", f"{_count(kind(4, 0, 101, **video)):,}")
        for kind in large:
            table.add_row(kind.__name__, f"{_count(kind(16, 19, 1024)):,}")
    return table


def _count(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = ("attention", "packing", "sizes")
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", default="1024,2048,4096,8192,16384")
    chosen = parser.parse_args()
    if unknown := set(chosen.tables) - set(tables):
        parser.error(f"tables are {', '.join(tables)}; got {min(unknown)}.")
    torch.manual_seed(0)
    made = {
        "attention": lambda: attention(chosen.rounds, [int(word) for word in chosen.tokens.split(",")]),
        "packing": lambda: packing(chosen.rounds),
        "sizes": sizes,
    }
    for name in chosen.tables or tables:
        Console().print(f"{name}, {torch.get_num_threads()} threads", made[name]())


if __name__ == "__main__":
    main()
