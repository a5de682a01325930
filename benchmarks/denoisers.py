"""Costs of denoisers: kinds of attention, packed rows, training steps against diffusers', published sizes.

Run: OMP_NUM_THREADS=1 python benchmarks/denoisers.py [TABLE ...] [--rounds 5 --tokens 1024 --grid 6,16,16]
Tables are attention, packing, mixed, steps and sizes. All sides of a table run in one process, in turn;
medians over the rounds. Memory is what a step keeps between forward and backward, counted tensor by tensor.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import (
    CogVideoXTransformer3DModel,
    LatteTransformer3DModel,
    UNet3DConditionModel,
    WanTransformer3DModel,
)
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import Mamba2Config, Mamba2Model

from worldgen.diffusion.denoisers import presets
from worldgen.diffusion.denoisers.attention import (
    Attention,
    FactorizedAttention,
    FullAttention,
    Groups,
    TokenLayout,
    WindowAttention,
    attend,
)
from worldgen.diffusion.denoisers.base import Denoiser
from worldgen.diffusion.denoisers.inflated import InflatedDiT
from worldgen.diffusion.denoisers.peebles import AdaLNZeroDiT, CrossAttentionDiT, InContextDiT
from worldgen.diffusion.denoisers.state_space import StateSpaceDenoiser, StateSpaceMixer
from worldgen.diffusion.denoisers.tokens import rotary_of
from worldgen.diffusion.denoisers.unet import UNet
from worldgen.diffusion.dit import DiT, SelfAttention
from worldgen.types import Conditioning

DIM, HEADS = 192, 6
CHANNELS, BESIDE, WORDS, TEXT = 16, 19, 8, 128
"""Of the latent, of what lies beside it, and of the condition: how many tokens, how wide."""
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
    """Forward and backward of two layers, one of each half where a kind has halves; last, Mamba-2's."""
    names = (*KINDS, "state space")
    table = Table(
        "tokens", "grid", *(f"{name}, ms" for name in names), *(f"full / {name}" for name in names[1:])
    )
    for wanted in tokens:
        side = 16 if wanted >= 2048 else 8
        layout = TokenLayout(((max(1, wanted // side**2), side, side),))
        attending, mixing = SelfAttention(DIM, HEADS), StateSpaceMixer(DIM)
        x = torch.randn(1, sum(layout.lengths), DIM)
        rotary = rotary_of(layout, x, DIM // HEADS)

        def step(layer: nn.Module, groups: list[Groups], x=x, rotary=rotary) -> None:
            for half in groups:
                layer(x, half, rotary).square().mean().backward()

        halves = {name: [layout.groups(kind, half) for half in range(2)] for name, kind in KINDS.items()}
        ways = {name: partial(step, attending, groups) for name, groups in halves.items()}
        ways["state space"] = partial(step, mixing, [layout.scans(half) for half in range(2)])
        found = medians(ways, rounds)
        grid = "x".join(map(str, layout.grids[0]))
        ratios = (f"{found['full'] / found[name]:.2f}" for name in names[1:])
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


def mixed(rounds: int) -> Table:
    """A training step of `DiT` on clips of mixed shapes: in one row, padded to the largest, one by one.

    Padding is given for free: nothing is masked, so that this is the least that a padded batch takes.
    """
    clips = [(t, h, w) for t in (1, 3, 6, 9) for h, w in ((8, 8), (6, 10), (10, 6), (16, 16))]
    model = DiT(CHANNELS, BESIDE, TEXT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x, context = ([torch.randn(t, c, h, w) for t, h, w in clips] for c in (CHANNELS, BESIDE))
    largest, sigma = [max(sizes) for sizes in zip(*clips, strict=True)], torch.rand(len(clips))
    tokens = torch.randn(len(clips), WORDS, TEXT)
    condition = Conditioning(tokens, torch.ones(len(clips), WORDS, dtype=torch.bool), tokens.mean(dim=1))
    dense = [torch.randn(len(clips), largest[0], c, *largest[1:]) for c in (CHANNELS, BESIDE)]

    def step(run: Callable[[], Sequence[Tensor]]) -> None:
        optimizer.zero_grad()
        torch.stack([out.square().mean() for out in run()]).mean().backward()
        optimizer.step()

    ways = {
        "packed": lambda: model.forward_packed(x, sigma, context, condition),
        "padded": lambda: model(dense[0], sigma, dense[1], condition),
        "one by one": lambda: Denoiser.forward_packed(model, x, sigma, context, condition),
    }
    torch.testing.assert_close(ways["packed"](), ways["one by one"](), atol=1e-5, rtol=1e-5)
    found = medians({name: partial(step, run) for name, run in ways.items()}, rounds)
    table = Table("way", "clips / s", "packed is so many times as fast")
    for name, seconds in found.items():
        table.add_row(name, f"{len(clips) / seconds:.1f}", f"{seconds / found['packed']:.2f}")
    return table


def steps(rounds: int, cells: tuple[int, int, int]) -> Table:
    """A training step of each denoiser, and of what it is like: its time and memory over ours are the ratios.

    The likes are models of diffusers, and the layers of transformers' Mamba-2 alone.
    """
    made, batch = _ours() | _theirs(cells), 4
    x = torch.randn(batch, cells[0], CHANNELS, *cells[1:])
    context, sigma = torch.randn(batch, cells[0], BESIDE, *cells[1:]), torch.rand(batch)
    tokens = torch.randn(batch, WORDS, TEXT)
    condition = Conditioning(tokens, torch.ones(batch, WORDS, dtype=torch.bool), tokens.mean(dim=1))

    def call(name: str) -> Tensor:
        model, peer = made[name]
        return model(x, sigma, context, condition) if peer else model(x, sigma, context, tokens)

    def step(name: str, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        call(name).square().mean().backward()
        optimizer.step()

    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=1e-4) for name, (model, _) in made.items()}
    found = medians({name: partial(step, name, optimizers[name]) for name in made}, rounds)
    kept = {name: _kept(partial(call, name), model) for name, (model, _) in made.items()}
    table = Table(
        "model", "parameters", "ms / step", "kept, MB", "like", "its time / this", "its memory / this"
    )
    for name, (model, peer) in made.items():
        ratios = (f"{found[peer] / found[name]:.2f}", f"{kept[peer] / kept[name]:.2f}") if peer else ("", "")
        numbers = (f"{_count(model) / 1e6:.2f} M", f"{found[name] * 1e3:.0f}", f"{kept[name] / 1e6:.0f}")
        table.add_row(name, *numbers, peer, *ratios)
    return table


def _ours() -> dict[str, tuple[nn.Module, str]]:
    """Each with the name of what it is held against."""
    given = (CHANNELS, BESIDE, TEXT)
    return {
        "DiT": (DiT(*given), "Wan"),
        "DiT, factorized": (DiT(*given, attention=KINDS["factorized"]), "Latte"),
        "DiT, windows": (DiT(*given, attention=KINDS["windows"]), "Wan"),
        "AdaLNZeroDiT": (AdaLNZeroDiT(*given), "Wan"),
        "CrossAttentionDiT": (CrossAttentionDiT(*given), "Wan"),
        "InContextDiT": (InContextDiT(*given, depth=8), "CogVideoX"),
        "InflatedDiT": (InflatedDiT(*given, depth=5), "Wan"),
        "StateSpaceDenoiser": (StateSpaceDenoiser(*given, depth=5), "Mamba-2"),
        "UNet": (UNet(*given), "UNet3D"),
    }


def _theirs(cells: tuple[int, int, int]) -> dict[str, tuple[nn.Module, str]]:
    """Models of others, each called as (x, sigma, context, tokens); of about as many parameters."""
    width = DIM // HEADS
    sizes = {"num_attention_heads": HEADS, "attention_head_dim": width, "in_channels": CHANNELS + BESIDE}
    wan = WanTransformer3DModel(
        **sizes,
        patch_size=(1, 2, 2),
        out_channels=CHANNELS,
        text_dim=TEXT,
        freq_dim=256,
        ffn_dim=4 * DIM,
        num_layers=6,
        cross_attn_norm=True,
    )
    latte = LatteTransformer3DModel(
        **sizes,
        out_channels=CHANNELS,
        num_layers=3,
        cross_attention_dim=DIM,
        attention_bias=True,
        sample_size=cells[1],
        patch_size=2,
        activation_fn="gelu-approximate",
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        caption_channels=TEXT,
        video_length=cells[0],
    )
    cog = CogVideoXTransformer3DModel(
        **sizes,
        out_channels=CHANNELS,
        time_embed_dim=DIM,
        text_embed_dim=TEXT,
        num_layers=4,
        sample_width=cells[2],
        sample_height=cells[1],
        sample_frames=cells[0],
        temporal_compression_ratio=1,
        max_text_seq_length=WORDS,
    )
    unet = UNet3DConditionModel(
        in_channels=CHANNELS + BESIDE,
        out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=TEXT,
        attention_head_dim=16,
    )
    config = Mamba2Config(
        hidden_size=DIM,
        num_heads=2 * DIM // 64,
        head_dim=64,
        state_size=64,
        n_groups=1,
        num_hidden_layers=15,
        chunk_size=64,
        vocab_size=8,
        use_cache=False,
    )
    return {
        "Wan": (Called(wan, frames_first=False), ""),
        "Latte": (Called(latte, frames_first=False), ""),
        "CogVideoX": (Called(cog, frames_first=True), ""),
        "UNet3D": (Called(unet, frames_first=False), ""),
        "Mamba-2": (Sequences(Mamba2Model(config)), ""),
    }


class Called(nn.Module):
    """A model of diffusers, with its own order of axes and of arguments."""

    def __init__(self, model: nn.Module, frames_first: bool) -> None:
        super().__init__()
        self.model, self.frames_first = model, frames_first

    def forward(self, x: Tensor, sigma: Tensor, context: Tensor, tokens: Tensor) -> Tensor:
        laid, time_step = torch.cat([x, context], dim=2), (sigma * 999).long()
        laid = laid if self.frames_first else laid.transpose(1, 2)
        names = {"encoder_hidden_states": tokens, "timestep": time_step, "return_dict": False}
        return self.model(laid, **names)[0]


class Sequences(nn.Module):
    """Mamba-2 over as many tokens, and nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, sigma: Tensor, context: Tensor, tokens: Tensor) -> Tensor:
        batch, frames, _, rows, columns = x.shape
        length = frames * rows * columns // 4
        return self.model(inputs_embeds=torch.randn(batch, length, DIM), use_cache=False)[0]


def _kept(call: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that wait for the backward pass, each storage once, without the weights themselves."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    found: dict[int, int] = {}
    alive = []  # so that no place is used twice

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        call()
    return sum(found.values())


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
    tables = ("attention", "packing", "mixed", "steps", "sizes")
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", default="1024,2048,4096,8192,16384")
    parser.add_argument("--grid", default="6,16,16", help="Latent cells along T, H, W, for steps.")
    chosen = parser.parse_args()
    frames, rows, columns = (int(word) for word in chosen.grid.split(","))
    if unknown := set(chosen.tables) - set(tables):
        parser.error(f"tables are {', '.join(tables)}; got {min(unknown)}.")
    torch.manual_seed(0)
    made = {
        "attention": lambda: attention(chosen.rounds, [int(word) for word in chosen.tokens.split(",")]),
        "packing": lambda: packing(chosen.rounds),
        "mixed": lambda: mixed(chosen.rounds),
        "steps": lambda: steps(chosen.rounds, (frames, rows, columns)),
        "sizes": sizes,
    }
    for name in chosen.tables or tables:
        Console().print(f"{name}, {torch.get_num_threads()} threads", made[name]())


if __name__ == "__main__":
    main()
