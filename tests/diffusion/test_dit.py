import math

import pytest
import timm.layers
import torch
from torch.testing import assert_close

from worldgen.diffusion.dit import DiT, PatchEmbed3d, rotary_angles, rotate
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


def test_patch_embedding_equals_its_own_convolution():
    layer = PatchEmbed3d(3, 8, (2, 4, 4))
    x = torch.randn(2, 4, 3, 8, 12)
    convolved = layer.proj(x.transpose(1, 2)).flatten(2).transpose(1, 2)
    assert_close(layer(x), convolved, atol=1e-5, rtol=1e-5)


def test_patch_embedding_of_one_frame_equals_timm():
    ours, theirs = (
        PatchEmbed3d(3, 8, (1, 4, 4)),
        timm.layers.PatchEmbed(img_size=16, patch_size=4, embed_dim=8),
    )
    ours.proj.weight.data = theirs.proj.weight.data[:, :, None]
    ours.proj.bias.data = theirs.proj.bias.data
    image = torch.randn(2, 3, 16, 16)
    assert_close(ours(image[:, None]), theirs(image), atol=1e-5, rtol=1e-5)


def test_unpatch_is_the_inverse_of_patching():
    model = tiny(patch=(1, 2, 2))
    model.to_patch = torch.nn.Identity()
    x = torch.arange(2 * 3 * 4 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 4, 6)
    embed = PatchEmbed3d(4, 16, (1, 2, 2))
    embed.proj.weight.data = torch.eye(16).reshape(16, 4, 1, 2, 2)
    embed.proj.bias.data.zero_()
    assert_close(model._unpatch(embed(x), (3, 2, 3)), x)


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


def test_rotary_products_depend_on_differences_of_position_only():
    cosine, sine = rotary_angles((4, 5, 6), 24)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(24, generator=generator) for _ in range(2))

    def product(first, second):
        turned = [
            rotate(vector[None, None, None], (cosine[place][None], sine[place][None]))
            for vector, place in ((query, first), (key, second))
        ]
        return (turned[0] * turned[1]).sum()

    index = lambda t, y, x: (t * 5 + y) * 6 + x  # noqa: E731
    assert_close(product(index(0, 0, 0), index(1, 2, 3)), product(index(2, 1, 2), index(3, 3, 5)))
    assert not math.isclose(
        float(product(index(0, 0, 0), index(1, 2, 3))),
        float(product(index(0, 0, 0), index(1, 3, 3))),
        rel_tol=1e-3,
    )
    for place in (0, 37, 119):
        turned = rotate(query[None, None, None], (cosine[place][None], sine[place][None]))
        assert_close(turned.norm(), query.norm())


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
