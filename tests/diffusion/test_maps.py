"""What each map shows of clips whose depth, masks, edges and motion are known."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.maps import DepthMap, EdgeMap, FlowMap, MaskMap
from worldgen.types import Clip


def clip_of(frames, **more):
    return Clip(frames, torch.full((len(frames),), 25.0), ("",) * len(frames), **more)


def disc(x, y, size=32, radius=5):
    """A soft white disc on black."""
    rows, columns = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    inside = torch.sigmoid(2 * radius - 2 * ((columns - x) ** 2 + (rows - y) ** 2).sqrt())
    return inside.expand(3, -1, -1)


@pytest.fixture
def falling():
    """A disc that falls by 2 pixels a frame, and goes 1 to the left."""
    return clip_of(torch.stack([disc(20 - t, 8 + 2 * t) for t in range(5)])[None])


def test_depth_is_one_where_nearest_and_forgets_scale():
    depth = torch.full((1, 2, 1, 4, 4), 8.0)
    depth[0, 1, 0, 2, 3] = 2.0
    depth[0, 0, 0, 0, 0] = 4.0
    drawn = DepthMap().draw(clip_of(torch.zeros(1, 2, 3, 4, 4), depth=depth))
    assert drawn[0, 1, 0, 2, 3] == 1
    assert_close(drawn[0, 0, 0, 0, 0], torch.tensor(1 / 3))  # (1/4 - 1/8) / (1/2 - 1/8)
    assert drawn.sum() == pytest.approx(4 / 3)
    assert_close(DepthMap().draw(clip_of(torch.zeros(1, 2, 3, 4, 4), depth=3 * depth)), drawn)


def test_each_object_has_a_channel_and_missing_ones_are_empty():
    masks = torch.zeros(1, 2, 1, 4, 4, dtype=torch.bool)
    masks[0, 1, 0, 1:3, 2] = True
    drawn = MaskMap(objects=3).draw(clip_of(torch.zeros(1, 2, 3, 4, 4), masks=masks))
    assert drawn.shape == (1, 2, 3, 4, 4) and MaskMap(objects=3).channels == 3
    assert torch.equal(drawn[:, :, :1], masks.float()) and not drawn[:, :, 1:].any()
    with pytest.raises(ValueError, match=r"MaskMap holds 1 objects; got 2. Raise MaskMap.objects"):
        MaskMap(1).draw(clip_of(torch.zeros(1, 2, 3, 4, 4), masks=masks.expand(-1, -1, 2, -1, -1)))


def test_edges_of_a_ramp_are_its_slope_and_of_a_plain_wall_nothing():
    ramp = (torch.arange(8.0) / 40).expand(1, 1, 3, 6, 8)
    drawn = EdgeMap(gain=4.0).draw(clip_of(ramp))
    assert drawn.shape == (1, 1, 1, 6, 8)
    inner = drawn[..., 1:-1]
    assert_close(inner, torch.full_like(inner, 4 / 40).tanh())
    turned = EdgeMap(gain=4.0).draw(clip_of(ramp.transpose(-1, -2)))
    assert_close(turned, drawn.transpose(-1, -2))
    assert not EdgeMap().draw(clip_of(torch.full((1, 2, 3, 8, 8), 0.7))).any()


def test_flow_is_how_the_disc_moved_since_the_frame_before(falling):
    drawn = FlowMap(cell=8).draw(falling)
    assert drawn.shape == (1, 5, 2, 32, 32)
    assert not drawn[:, 0].any()
    assert_close(drawn[0, 1, :, 9, 19] * 8, torch.tensor([-1.0, 2.0]), atol=0.1, rtol=0.05)
    assert drawn[0, 1, :, 28:, :4].abs().max() < 0.01  # nothing is there
    assert not FlowMap().draw(replace(falling, frames=falling.frames[:, :1])).any()
    with pytest.raises(ValueError, match="FlowMap.cell must divide the frames; got 5 for 32 x 32 pixels"):
        FlowMap(cell=5).draw(falling)


@pytest.mark.parametrize("kind, member", [(DepthMap, "depth"), (MaskMap, "masks")])
def test_a_clip_without_what_is_drawn_is_refused(kind, member, falling):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs Clip.{member}, and the clip has none"):
        kind().draw(falling)
