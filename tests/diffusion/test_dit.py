import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.dit import DiT
from worldgen.types import Conditioning


def tiny(patch=(1, 2, 2), seed=0):
    torch.manual_seed(seed)
    model = DiT(4, 5, 16, dim=48, depth=2, heads=2, patch=patch)
    for parameter in model.parameters():  # adaLN-Zero starts at the identity: wake it up
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(batch=2, grid=(3, 4, 6), seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, grid[0], 4, *grid[1:], generator=generator)
    context = torch.randn(batch, grid[0], 5, *grid[1:], generator=generator)
    tokens = torch.randn(batch, 3, 16, generator=generator)
    mask = torch.tensor([[True, True, False]]).expand(batch, -1)
    return x, torch.rand(batch, generator=generator), context, Conditioning(tokens, mask, tokens.mean(dim=1))


def test_output_is_zero_at_initialization_and_has_the_latents_shape():
    model = DiT(4, 5, 16, dim=48, depth=2, heads=2)
    out = model(*inputs())
    assert_close(out, torch.zeros(2, 3, 4, 4, 6))


@pytest.mark.parametrize("changed", ["x", "sigma", "context", "tokens", "pooled"])
def test_every_input_reaches_the_output(changed):
    model, (x, sigma, context, condition) = tiny(), inputs()
    before = model(x, sigma, context, condition)
    tokens, pooled = condition.tokens.clone(), condition.pooled.clone()
    if changed == "x":
        x = x + 1
    elif changed == "sigma":
        sigma = sigma / 2
    elif changed == "context":
        context = context + 1
    elif changed == "tokens":
        tokens[:, 0] += 1
    else:
        pooled += 1
    after = model(x, sigma, context, Conditioning(tokens, condition.mask, pooled))
    assert (after - before).abs().max() > 1e-3


def test_masked_tokens_do_not_reach_the_output():
    model, (x, sigma, context, condition) = tiny(), inputs()
    tokens = condition.tokens.clone()
    tokens[:, 2] += 10
    changed = Conditioning(tokens, condition.mask, condition.pooled)
    assert_close(model(x, sigma, context, changed), model(x, sigma, context, condition))


def test_clips_of_a_batch_do_not_see_each_other():
    model, (x, sigma, context, condition) = tiny(), inputs()
    alone = model(
        x[:1],
        sigma[:1],
        context[:1],
        Conditioning(condition.tokens[:1], condition.mask[:1], condition.pooled[:1]),
    )
    assert_close(model(x, sigma, context, condition)[:1], alone, atol=1e-5, rtol=1e-5)


def test_queries_and_keys_are_normalized():
    model = tiny()
    scaled = tiny()
    with torch.no_grad():
        weight = scaled.blocks[0].attention.qkv
        weight.weight[: 2 * 48] *= 50
        weight.bias[: 2 * 48] *= 50
    assert_close(scaled(*inputs()), model(*inputs()), atol=1e-3, rtol=1e-3)


def test_training_can_use_what_inference_mode_computed_first():
    model, given = tiny(), inputs(grid=(2, 2, 2), seed=7)
    with torch.inference_mode():
        model(*given)
    model(*given).sum().backward()
    assert model.embed.proj.weight.grad.abs().max() > 0


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="dim / heads must be an even number; got 50 / 4"):
        DiT(4, 5, 16, dim=50, heads=4)
    with pytest.raises(
        ValueError, match=r"must divide into patches of \(1, 2, 2\); got \(T, H, W\) = \(3, 5, 6\)"
    ):
        tiny()(*inputs(grid=(3, 5, 6)))
