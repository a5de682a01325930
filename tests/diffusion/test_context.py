"""A world of which nothing is known, and what is laid beside the noise."""

import torch

from worldgen.diffusion.codec import KLCodec
from worldgen.diffusion.context import context_mask, context_motion, encode_held, hold, lay_on_steps
from worldgen.diffusion.state_codec import StateCodec
from worldgen.simulation.clips import simulate_clip


def test_where_nothing_is_known_nothing_of_the_clip_is_left():
    first, second = (simulate_clip("drop", seed, size=16, frames=7) for seed in (1, 2))
    nothing = hold(first, 0, 7)
    assert nothing.frames.shape == first.frames.shape
    assert torch.equal(nothing.frames, hold(second, 0, 7).frames)
    assert nothing.prompts == first.prompts
    assert hold(first, 0, 0).frames.shape == (1, 1, 3, 16, 16)
    for name in ("sound", "depth", "masks", "imu", "truth", "scenes", "descriptions"):
        assert getattr(nothing, name) is None
    torch.manual_seed(0)
    codec = KLCodec(channels=4, widths=(16, 16, 16), temporal_stride=3)
    codec.shift.normal_()
    still = encode_held(codec, first, 0, 7)
    assert torch.equal(still, torch.zeros_like(codec.encode(first)))
    assert not context_mask(codec, 0, 7).any()
    assert not context_motion(first, 0, (2, 2)).any()


def test_what_is_told_of_a_steps_frames_stands_behind_each_other():
    codec, told = StateCodec(), torch.arange(84.0).view(1, 1, 1, 7, 3, 2, 2)
    codec.temporal_stride = 3
    laid = lay_on_steps(codec, told)
    assert laid.shape == (1, 1, 1, 3, 9, 2, 2)
    frames = told[0, 0, 0]
    assert torch.equal(laid[0, 0, 0, 0], torch.cat([frames[0]] * 3))
    assert torch.equal(laid[0, 0, 0, 2], frames[4:7].flatten(0, 1))
