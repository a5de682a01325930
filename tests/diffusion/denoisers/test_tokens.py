import math

import timm.layers
import torch
from torch.testing import assert_close

from worldgen.diffusion.denoisers.tokens import (
    PatchEmbed3d,
    count_tokens,
    rotary_angles,
    rotate,
    sinusoid_positions,
)


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


def test_places_are_told_apart_and_kept_where_numbers_are():
    with torch.device("meta"):  # a model that is only counted must not leave its places to one that computes
        first = sinusoid_positions((2, 3, 5), 24)
    assert first.device.type == "cpu"
    distances = torch.cdist(first, first) + 9 * torch.eye(30)
    assert distances.min() > 1e-2


def test_tokens_are_the_denoisers_and_cells_where_it_has_none():
    denoiser = torch.nn.Module()
    assert count_tokens(denoiser, (4, 3, 8, 6)) == 4 * 48
    denoiser.patch = (1, 2, 2)
    assert count_tokens(denoiser, (4, 3, 8, 6)) == 4 * 12
