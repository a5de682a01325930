import pytest
import torch
from torch.testing import assert_close

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, inputs
from worldgen.diffusion.denoisers.base import sinusoid
from worldgen.diffusion.denoisers.tokens import PatchEmbed3d
from worldgen.diffusion.denoisers.transformer import LatentTransformer, modulate


class Pointwise(LatentTransformer):
    """No blocks at all: each patch by itself."""

    def __init__(self, patch=(1, 2, 2)):
        super().__init__(CHANNELS, BESIDE, WIDTH, 48, 2, patch, None)
        self.blocks = torch.nn.ModuleList()
        self._add_head(48)

    def _run(self, tokens, layout, sigma, condition, residuals):
        return self._head(tokens, layout, self._level(sigma, condition))


@pytest.mark.parametrize("patch", [(1, 2, 2), (3, 4, 2)])
def test_unpatch_is_the_inverse_of_patching(patch):
    size = CHANNELS * patch[0] * patch[1] * patch[2]
    x = torch.arange(2 * 3 * CHANNELS * 4 * 6, dtype=torch.float32).reshape(2, 3, CHANNELS, 4, 6)
    embed = PatchEmbed3d(CHANNELS, size, patch)
    embed.proj.weight.data = torch.eye(size).reshape(size, CHANNELS, *patch)
    embed.proj.bias.data.zero_()
    assert_close(Pointwise(patch)._unpatch(embed(x), embed.grid(x.shape)), x)


def test_patches_come_back_where_they_were():
    model, (x, *rest) = awake(Pointwise()), inputs()
    changed = x.clone()
    changed[1, 2, :, 2:4, 4:6] += 1
    difference = (model(changed, *rest) - model(x, *rest)).abs().amax(dim=2)
    assert difference[1, 2, 2:4, 4:6].min() > 1e-4
    assert difference.count_nonzero() == 4


def test_the_head_hears_of_noise_and_pooled_condition_by_one_vector():
    model, (_, sigma, _, condition) = awake(Pointwise()), inputs()
    level = model.noise(sinusoid(1000 * sigma, 256)) + model.pooled(condition.pooled)
    assert_close(model._level(sigma, condition), level)


def test_scale_and_shift_are_relative_to_one_and_zero():
    x = torch.randn(2, 3, 4)
    assert_close(modulate(x, torch.zeros(2, 1, 4), torch.zeros(2, 1, 4)), x)
    assert_close(modulate(x, torch.full((2, 3, 4), 3.0), torch.ones(2, 3, 4)), 2 * x + 3)
