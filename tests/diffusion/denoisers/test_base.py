from functools import partial

import pytest
import torch
from torch.testing import assert_close

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, changed, inputs, packed
from worldgen.diffusion.denoisers.attention import FactorizedAttention, WindowAttention
from worldgen.diffusion.denoisers.base import Denoiser, block_tokens, sinusoid
from worldgen.diffusion.denoisers.inflated import InflatedDiT
from worldgen.diffusion.denoisers.peebles import AdaLNZeroDiT, CrossAttentionDiT, InContextDiT
from worldgen.diffusion.denoisers.registers import RegisterDiT
from worldgen.diffusion.denoisers.state_space import StateSpaceDenoiser
from worldgen.diffusion.denoisers.unet import UNet
from worldgen.diffusion.dit import DiT

SIZE = {"dim": 48, "depth": 2, "heads": 2}
MADE = {
    "dit": partial(DiT, **SIZE),
    "factorized": partial(DiT, **SIZE, attention=FactorizedAttention()),
    "windows": partial(DiT, **SIZE, attention=WindowAttention((2, 2), (2, 2, 2))),
    "adaln_zero": partial(AdaLNZeroDiT, **SIZE),
    "latte": partial(AdaLNZeroDiT, **SIZE, attention=FactorizedAttention()),
    "cross_attention": partial(CrossAttentionDiT, **SIZE),
    "in_context": partial(InContextDiT, **SIZE),
    "state_space": partial(StateSpaceDenoiser, **SIZE, state=8, head_dim=16, chunk=8),
    "unet": partial(UNet, widths=(16, 32, 32), head_dim=8, norm_groups=8),
    "inflated": partial(InflatedDiT, **SIZE),
    "registers": partial(RegisterDiT, **SIZE),
    "factorized_registers": partial(RegisterDiT, **SIZE, attention=FactorizedAttention()),
}
"""One of each kind."""
DEAF = {("adaln_zero", "tokens"), ("latte", "tokens")}
"""What hears of the condition through its pooled vector alone."""


def make(name):
    torch.manual_seed(0)
    return MADE[name](CHANNELS, BESIDE, WIDTH)


@pytest.mark.parametrize("name", MADE)
def test_the_output_is_zero_before_training_and_of_the_latents_shape(name):
    model, given = make(name), inputs()
    assert isinstance(model, Denoiser)
    assert_close(model(*given), torch.zeros_like(given[0]))


@pytest.mark.parametrize("part", ["x", "sigma", "context", "tokens", "pooled"])
@pytest.mark.parametrize("name", MADE)
def test_every_input_reaches_the_output(name, part):
    model, given = awake(make(name)), inputs()
    change = (model(*changed(given, part)) - model(*given)).abs().max()
    assert change == 0 if (name, part) in DEAF else change > 1e-4


@pytest.mark.parametrize("name", MADE)
def test_masked_tokens_do_not_reach_the_output(name):
    model, given = awake(make(name)), inputs()
    assert_close(model(*changed(given, "masked")), model(*given))


@pytest.mark.parametrize("name", MADE)
def test_a_training_step_moves_the_loss(name):
    model, given = make(name), inputs()
    target = torch.randn(given[0].shape, generator=torch.Generator().manual_seed(5))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(6):
        loss = (model(*given) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", MADE)
def test_clips_of_several_shapes_in_one_call_are_each_as_if_alone(name):
    model = awake(make(name))
    clips, row = packed((3, 4, 6), (1, 8, 4), (3, 4, 6), (2, 2, 2), (1, 4, 8))
    for out, clip in zip(model.forward_packed(*row), clips, strict=True):
        assert_close(out, model(*clip)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_gradients_of_packed_clips_are_the_sum_of_each_alone(name):
    clips, row = packed((3, 4, 6), (1, 8, 4), (2, 2, 2))
    together, alone = awake(make(name)), awake(make(name))
    sum(out.square().sum() for out in together.forward_packed(*row)).backward()
    for clip in clips:
        alone(*clip).square().sum().backward()
    for (key, one), other in zip(together.named_parameters(), alone.parameters(), strict=True):
        if other.grad is not None:
            assert_close(
                one.grad, other.grad, atol=1e-4, rtol=1e-4, msg=lambda text, key=key: f"{key} {text}"
            )


@pytest.mark.parametrize("name", ["dit", "in_context"])
def test_packed_clips_must_be_complete(name):
    _, (x, sigma, context, condition) = packed((1, 2, 2), (2, 2, 2))
    sentence = "must have a latent, a noise level, a context and a condition each; got 2, 1, 2, 2"
    with pytest.raises(ValueError, match=sentence):
        make(name).forward_packed(x, sigma[:1], context, condition)
    with pytest.raises(ValueError, match="got 0, 0, 0, 2"):
        make(name).forward_packed([], sigma[:0], [], condition)


def test_a_denoiser_without_blocks_takes_no_control():
    class Plain(Denoiser):
        def forward(self, x, sigma, context, condition, residuals=None):
            self._refuse(residuals)
            return x

    with pytest.raises(ValueError, match="Plain takes no residuals. Train it for a DiT"):
        _ = Plain().sites
    with pytest.raises(ValueError, match="Plain takes no residuals"):
        Plain()(*inputs(), residuals=(torch.zeros(1, 1, 1),))
    assert Plain()(*inputs()) is not None
    assert tuple(make("dit").sites) == (48, 2, (1, 2, 2))


def test_sinusoids_are_cosines_then_sines_of_geometric_frequencies():
    angle = 3.0 * 10_000.0 ** (-torch.arange(4) / 4)
    assert_close(sinusoid(torch.tensor([3.0]), 8)[0], torch.cat([angle.cos(), angle.sin()]))


@pytest.mark.parametrize("name", MADE)
def test_tokens_are_collected_after_each_block_and_only_while_asked_for(name):
    model, given = awake(make(name)), inputs()
    with block_tokens(model) as tokens:
        model(*given)
    assert len(tokens) == (0 if name == "unet" else len(model.blocks))
    model(*given)
    assert len(tokens) == (0 if name == "unet" else len(model.blocks))
    for one in tokens:
        assert one.requires_grad and one.ndim == 3
