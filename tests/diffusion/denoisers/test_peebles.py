import pytest
import torch
from diffusers import DiTTransformer2DModel, LatteTransformer3DModel
from torch import nn
from torch.testing import assert_close

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, inputs
from worldgen.diffusion.denoisers.attention import FactorizedAttention
from worldgen.diffusion.denoisers.peebles import AdaLNZeroDiT, CrossAttentionDiT, InContextDiT
from worldgen.types import Conditioning

CLASSES, DIM, HEADS, CELLS, PATCH = 10, 24, 2, 8, 2
STEPS = [0, 40, 3, 17]
"""Noise levels in thousandths; of high ones, cosines in single precision agree to four digits only."""


def mixing(theirs, ours):
    """Attention and feed-forward of one block."""
    for kind in ("weight", "bias"):
        parts = [getattr(getattr(theirs.attn1, f"to_{name}"), kind) for name in "qkv"]
        getattr(ours.attention.qkv, kind).data = torch.cat(parts).data
        getattr(ours.attention.out, kind).data = getattr(theirs.attn1.to_out[0], kind).data
        getattr(ours.feed_forward[0], kind).data = getattr(theirs.ff.net[0].proj, kind).data
        getattr(ours.feed_forward[2], kind).data = getattr(theirs.ff.net[2], kind).data


def ends(theirs, ours, embedder, out, channels):
    """Patches in and out, and the noise level; in the head theirs lie as (h, w, C), ours as (C, h, w)."""
    ours.embed.proj.weight.data = theirs.pos_embed.proj.weight.data[:, :, None]
    ours.embed.proj.bias.data = theirs.pos_embed.proj.bias.data
    order = torch.arange(channels * PATCH**2).view(PATCH, PATCH, channels).permute(2, 0, 1).flatten()
    ours.to_patch.weight.data, ours.to_patch.bias.data = out.weight.data[order], out.bias.data[order]
    ours.noise[0].load_state_dict(embedder.linear_1.state_dict())
    ours.noise[2].load_state_dict(embedder.linear_2.state_dict())


def one_hot(classes):
    """Classes as a pooled condition; the class past the last is none."""
    pooled = torch.eye(CLASSES + 1)[classes][:, :CLASSES]
    return Conditioning(torch.zeros(len(classes), 1, CLASSES), torch.ones(len(classes), 1).bool(), pooled)


def test_adaln_zero_equals_the_dit_of_diffusers():
    torch.manual_seed(0)
    theirs = DiTTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=DIM // HEADS,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=3,
        sample_size=CELLS,
        patch_size=PATCH,
        num_embeds_ada_norm=CLASSES,
        norm_eps=1e-6,
    )
    theirs = awake(theirs, std=0.2)
    first = theirs.transformer_blocks[0].norm1.emb
    first.time_proj.downscale_freq_shift = 0  # as published; diffusers has 1 here
    ours = AdaLNZeroDiT(CHANNELS, 0, CLASSES, DIM, 3, HEADS, (1, PATCH, PATCH), outputs=2).eval()
    ends(theirs, ours, first.timestep_embedder, theirs.proj_out_2, 2 * CHANNELS)
    table = first.class_embedder.embedding_table.weight.data
    ours.pooled.bias.data, ours.pooled.weight.data = table[-1], (table[:-1] - table[-1]).T.contiguous()
    ours.final_modulation[1].load_state_dict(theirs.proj_out_1.state_dict())
    for one, other in zip(theirs.transformer_blocks, ours.blocks, strict=True):
        one.norm1.emb.load_state_dict(first.state_dict())  # they embed time and class anew in every block
        one.norm1.emb.time_proj.downscale_freq_shift = 0
        other.modulation[1].load_state_dict(one.norm1.linear.state_dict())
        mixing(one, other)
    x, classes, steps = torch.randn(4, CHANNELS, CELLS, CELLS), torch.tensor([0, 3, 9, 10]), STEPS
    expected = theirs(x, torch.tensor(steps), classes).sample
    got = ours(x[:, None], torch.tensor(steps) / 1000, x.new_zeros(4, 1, 0, CELLS, CELLS), one_hot(classes))
    assert expected.std() > 0.1
    assert_close(got[:, 0], expected[:, :CHANNELS], atol=1e-5, rtol=1e-5)


class TableAndLevel(nn.Module):
    """How diffusers' Latte modulates its head: a table beside the noise level as it is."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, level):
        return (self.table + level[:, None]).flatten(1)


@pytest.mark.parametrize("frames", [1, 4])
def test_factorized_adaln_zero_equals_the_latte_of_diffusers(frames):
    torch.manual_seed(0)
    theirs = LatteTransformer3DModel(
        num_attention_heads=HEADS,
        attention_head_dim=DIM // HEADS,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        attention_bias=True,
        sample_size=CELLS,
        patch_size=PATCH,
        activation_fn="gelu-approximate",
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        caption_channels=6,
        video_length=frames,
    )
    theirs = awake(theirs, std=0.2)
    sizes = (CHANNELS, 0, CLASSES, DIM, 4, HEADS, (1, PATCH, PATCH))
    ours = AdaLNZeroDiT(*sizes, attention=FactorizedAttention()).eval()
    ends(theirs, ours, theirs.adaln_single.emb.timestep_embedder, theirs.proj_out, CHANNELS)
    ours.pooled.requires_grad_(False).weight.zero_()
    ours.pooled.bias.zero_()
    ours.final_modulation = TableAndLevel(theirs.scale_shift_table)
    blocks = zip(theirs.transformer_blocks, theirs.temporal_transformer_blocks, strict=True)
    for one, other in zip((block for pair in blocks for block in pair), ours.blocks, strict=True):
        shared = theirs.adaln_single.linear
        other.modulation[1].weight.data = shared.weight.data
        other.modulation[1].bias.data = shared.bias.data + one.scale_shift_table.data.flatten()
        mixing(one, other)
    x, steps = torch.randn(3, frames, CHANNELS, CELLS, CELLS), torch.tensor(STEPS[:3])
    expected = theirs(x.transpose(1, 2), steps, torch.randn(3, 2, 6)).sample.transpose(1, 2)
    got = ours(x, steps / 1000, x.new_zeros(3, frames, 0, CELLS, CELLS), one_hot(torch.zeros(3).long()))
    assert expected.std() > 0.1
    assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_positions_that_are_kept_change_no_number():
    given = inputs(grid=(3, 8, 8))
    kept, computed = (
        awake(AdaLNZeroDiT(CHANNELS, BESIDE, WIDTH, dim=48, depth=2, heads=2, native=native))
        for native in ((3, 4, 4), None)
    )
    assert {name for name, weight in kept.named_parameters() if not weight.requires_grad} == {
        "positions.table",
        "positions.frames",
    }
    assert_close(kept(*given), computed(*given))


def test_a_learned_variance_is_not_returned():
    one, two = (AdaLNZeroDiT(CHANNELS, BESIDE, WIDTH, dim=48, depth=1, heads=2, outputs=n) for n in (1, 2))
    weights = awake(one).state_dict()
    head = {
        name: torch.cat([weights[name], weights[name] + 1]) for name in ("to_patch.weight", "to_patch.bias")
    }
    two.load_state_dict({**weights, **head})
    assert_close(two(*inputs()), one(*inputs()))


@pytest.mark.parametrize("kind", [AdaLNZeroDiT, CrossAttentionDiT, InContextDiT])
def test_residuals_of_a_control_reach_each_block(kind):
    model, given = awake(kind(CHANNELS, BESIDE, WIDTH, dim=48, depth=2, heads=2)), inputs()
    none = torch.zeros(2, 18, 48)
    assert tuple(model.sites) == (48, 2, (1, 2, 2))
    assert_close(model(*given, (none, none)), model(*given))
    some = torch.randn(none.shape, generator=torch.Generator().manual_seed(0))
    for residuals in ((some, none), (none, some)):
        assert (model(*given, residuals) - model(*given)).abs().max() > 1e-4
    with pytest.raises(ValueError, match="Residuals must be one for each of 2 blocks; got 1"):
        model(*given, (none,))


@pytest.mark.parametrize("kind", [AdaLNZeroDiT, CrossAttentionDiT, InContextDiT])
def test_bad_sizes_are_refused(kind):
    with pytest.raises(ValueError, match="dim / heads must be an even number; got 50 / 4"):
        kind(4, 5, 16, dim=50, heads=4)
    with pytest.raises(ValueError, match=r"must divide into patches of \(1, 2, 2\); got .* = \(3, 5, 6\)"):
        kind(CHANNELS, BESIDE, WIDTH, dim=48, depth=1, heads=2)(*inputs(grid=(3, 5, 6)))
