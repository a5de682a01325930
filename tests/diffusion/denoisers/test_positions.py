import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_1d_sincos_pos_embed_from_grid, get_2d_sincos_pos_embed
from torch.testing import assert_close

from worldgen.diffusion.denoisers.attention import TokenLayout
from worldgen.diffusion.denoisers.positions import Positions

LIKE = torch.zeros(())


@pytest.mark.parametrize("native", [None, (1, 6, 6), (3, 6, 6), (9, 4, 4)])
def test_positions_equal_diffusers_whether_kept_or_computed(native):
    layout, ours = TokenLayout(((3, 6, 6),)), Positions(24, native)
    plane = torch.as_tensor(np.asarray(get_2d_sincos_pos_embed(24, 6, base_size=6, output_type="pt"))).float()
    line = get_1d_sincos_pos_embed_from_grid(24, torch.arange(3)[:, None], output_type="pt").float()
    assert_close(ours.places(layout, LIKE), plane.repeat(3, 1), atol=1e-5, rtol=1e-5)
    assert_close(ours.times(layout, LIKE), line.repeat_interleave(36, dim=0), atol=1e-5, rtol=1e-5)


def test_rows_and_columns_are_not_mixed_up():
    places = Positions(24).places(TokenLayout(((1, 2, 3),)), LIKE).view(2, 3, 24)
    assert_close(places[0, 1, :12], places[1, 1, :12])
    assert_close(places[1, 0, 12:], places[1, 2, 12:])
    assert (places[0, 1] - places[1, 0]).abs().max() > 0.1


def test_an_image_has_no_time_and_clips_of_a_row_have_their_own():
    times = Positions(8, (4, 2, 2)).times(TokenLayout(((1, 1, 2), (3, 1, 1))), LIKE)
    assert_close(times[:2], torch.zeros(2, 8))
    assert_close(times[2:], Positions(8).times(TokenLayout(((3, 1, 1),)), LIKE))


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="must be a multiple of 4 for its positions; got 18"):
        Positions(18)
