"""Training step of our DiT against diffusers' WanTransformer3DModel of equal width, depth, heads and tokens.

Run: python benchmarks/dit_step.py [--dim 192 --depth 6 --heads 6 --batch 16 --rounds 15]
Both run in one process, in turn; medians over the rounds, and the median of the ratio round by round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import WanTransformer3DModel
from rich.console import Console
from rich.table import Table

from worldgen.diffusion.dit import DiT
from worldgen.types import Conditioning

CHANNELS, CONTEXT, GRID, TOKENS, TEXT = 16, 19, (6, 8, 8), 8, 128


def ours(dim: int, depth: int, heads: int, batch: int) -> Callable[[], None]:
    model = DiT(CHANNELS, CONTEXT, TEXT, dim=dim, depth=depth, heads=heads, patch=(1, 2, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.randn(batch, GRID[0], CHANNELS, *GRID[1:])
    context = torch.randn(batch, GRID[0], CONTEXT, *GRID[1:])
    tokens = torch.randn(batch, TOKENS, TEXT)
    condition = Conditioning(tokens, torch.ones(batch, TOKENS, dtype=torch.bool), tokens.mean(dim=1))

    def step() -> None:
        optimizer.zero_grad()
        model(x, torch.rand(batch), context, condition).square().mean().backward()
        optimizer.step()

    step.parameters = sum(parameter.numel() for parameter in model.parameters())
    return step


def wan(dim: int, depth: int, heads: int, batch: int) -> Callable[[], None]:
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=heads,
        attention_head_dim=dim // heads,
        in_channels=CHANNELS + CONTEXT,
        out_channels=CHANNELS,
        text_dim=TEXT,
        freq_dim=256,
        ffn_dim=4 * dim,
        num_layers=depth,
        cross_attn_norm=True,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.randn(batch, CHANNELS + CONTEXT, *GRID)
    tokens = torch.randn(batch, TOKENS, TEXT)

    def step() -> None:
        optimizer.zero_grad()
        time_step = torch.randint(0, 1000, (batch,))
        model(x, time_step, tokens, return_dict=False)[0].square().mean().backward()
        optimizer.step()

    step.parameters = sum(parameter.numel() for parameter in model.parameters())
    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("dim", 192), ("depth", 6), ("heads", 6), ("batch", 16), ("rounds", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    size = (chosen.dim, chosen.depth, chosen.heads, chosen.batch)
    steps = {"worldgen DiT": ours(*size), "diffusers WanTransformer3DModel": wan(*size)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(chosen.rounds + 2):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - begun)
    table = Table("model", "parameters", "median ms / step", "clips / s")
    for name, times in seconds.items():
        median = statistics.median(times)
        table.add_row(
            name,
            f"{steps[name].parameters / 1e6:.2f} M",
            f"{median * 1e3:.0f}",
            f"{chosen.batch / median:.1f}",
        )
    Console().print(table)
    first, second = seconds.values()
    ratio = statistics.median(b / a for a, b in zip(first, second, strict=True))
    threads = torch.get_num_threads()
    print(f"Wan takes {ratio:.2f} times as long (median of {chosen.rounds} rounds, {threads} threads)")


if __name__ == "__main__":
    main()
