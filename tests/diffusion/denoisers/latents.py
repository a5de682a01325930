"""Small latents with their contexts and conditions, and denoisers whose every weight does something."""

import torch

from worldgen.types import Conditioning

CHANNELS, BESIDE, WIDTH = 4, 5, 16


def awake(model, seed=0, std=0.1):
    """The model with random weights everywhere: what begins at zero would hide what is behind it."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=std, generator=generator)
    return model.eval()


def inputs(batch=2, grid=(3, 4, 6), seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, grid[0], CHANNELS, *grid[1:], generator=generator)
    context = torch.randn(batch, grid[0], BESIDE, *grid[1:], generator=generator)
    tokens = torch.randn(batch, 3, WIDTH, generator=generator)
    mask = torch.tensor([[True, True, False]]).expand(batch, -1)
    return x, torch.rand(batch, generator=generator), context, Conditioning(tokens, mask, tokens.mean(dim=1))


def packed(*grids):
    """Clips of several shapes, one by one and as `forward_packed` takes them."""
    clips = [inputs(1, grid, seed) for seed, grid in enumerate(grids)]
    parts = ([clip[3].tokens, clip[3].mask, clip[3].pooled] for clip in clips)
    condition = Conditioning(*(torch.cat(part) for part in zip(*parts, strict=True)))
    x, context = ([clip[part][0] for clip in clips] for part in (0, 2))
    return clips, (x, torch.cat([clip[1] for clip in clips]), context, condition)


def changed(given, part):
    """The same inputs with one of them changed."""
    x, sigma, context, condition = given
    tokens, mask, pooled = condition.tokens.clone(), condition.mask, condition.pooled.clone()
    if part == "x":
        x = x + 1
    elif part == "sigma":
        sigma = sigma / 2
    elif part == "context":
        context = context + 1
    elif part == "tokens":
        tokens[:, 0] += 1
    elif part == "masked":
        tokens[:, 2] += 10
    elif part == "pooled":
        pooled += 1
    return x, sigma, context, Conditioning(tokens, mask, pooled)
