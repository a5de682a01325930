from dataclasses import replace

import pytest
import torch

from tests.models import build
from worldgen.diffusion.codec import IdentityCodec, KLCodec
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.known import OtherContexts
from worldgen.generation.layout import Frame, KnownLayout
from worldgen.generation.making import Edited, Maker, is_trained, require_context, require_noise


@pytest.fixture(scope="module")
def model():
    """Not trained, and not silent either."""
    made = build(
        codec=IdentityCodec(),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 4, 4)),
    )
    torch.nn.init.normal_(made.denoiser.to_patch.weight, std=0.1)
    return made


@pytest.fixture(scope="module")
def any_frames():
    """Trained to know any frames, or none."""
    made = build(
        codec=IdentityCodec(),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 4, 4)),
        contexts={0: 0.25, 1: 0.25},
        other_contexts=OtherContexts(random=0.5),
    )
    torch.nn.init.normal_(made.denoiser.to_patch.weight, std=0.1)
    return made


def maker(model, layout, frames=6, edited=None, window=6, overlap=2):
    return Maker(model, Frame(8, 8, 10.0, frames), layout, None, None, edited, window, overlap)


def make(maker, seeds=(0,)):
    beats = []
    pieces = list(maker.make(["a"] * len(seeds), list(seeds), beats.append))
    steps = 1 if maker.edited is not None and maker.edited.strength == 0 else maker.model.sampler.steps
    assert len(beats) == maker.windows * steps
    return pieces


FIRST = KnownLayout((0, 1), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


def test_a_long_clip_is_made_window_after_window_each_knowing_the_end_of_the_one_before(model):
    short, long = make(maker(model, FIRST)), make(maker(model, FIRST, frames=12))
    assert [piece.shape[1] for piece in long] == [6, 4, 2]
    assert torch.equal(long[0], short[0]) and torch.equal(short[0][0, :2], FIRST.shown)
    again = KnownLayout((0, 1), long[0][0, -2:])
    assert torch.equal(make(maker(model, again), seeds=(1_000_003,))[0][:, 2:], long[1])


def test_clips_of_a_batch_are_those_of_their_seeds(model):
    alone, together = make(maker(model, FIRST), (5,))[0], make(maker(model, FIRST), (4, 5))[0]
    torch.testing.assert_close(together[1:], alone)
    assert not torch.equal(together[0], together[1])


def test_made_frames_that_the_result_has_around_them_are_cut(model):
    both = KnownLayout(
        (0, 1, 5), torch.rand(3, 3, 8, 8), before=torch.rand(4, 3, 8, 8), after=torch.rand(1, 3, 8, 8)
    )
    assert make(maker(model, both))[0].shape[1] == 3
    assert make(maker(model, KnownLayout((0, 5), torch.rand(2, 3, 8, 8), loops=True)))[0].shape[1] == 5


def test_an_edit_keeps_its_region_and_without_strength_all(model):
    video = torch.rand(6, 3, 8, 8)
    kept = torch.zeros(1, 8, 8)
    kept[:, :, :4] = 1
    layout = KnownLayout((0,), video[:1])
    made = make(maker(model, layout, edited=Edited(video, kept, 0.8)))[0][0]
    torch.testing.assert_close(made[..., :4], video[..., :4])
    assert (made[1:, ..., 4:] - video[1:, ..., 4:]).abs().max() > 1e-2
    same = make(maker(model, layout, edited=Edited(video, torch.zeros(1, 8, 8), 0.0)))[0][0]
    torch.testing.assert_close(same, video, atol=1e-5, rtol=1e-5)
    far, near = (
        (make(maker(model, layout, edited=Edited(video, torch.zeros(1, 8, 8), one)))[0][0] - video)
        .abs()
        .mean()
        for one in (0.9, 0.2)
    )
    assert near < far


def test_known_frames_that_a_run_was_not_trained_for_are_kept_where_first_ones_lead(model):
    assert (
        is_trained(model, (0, 1), 6) and not is_trained(model, (0, 1, 5), 6) and not is_trained(model, (), 6)
    )
    assert require_context(model, (0,), 6, "run") is None
    assert "not for other known frames" in require_context(model, (0, 5), 6, "run")
    for places in ((), (5,)):
        with pytest.raises(
            ValueError, match="run was trained to go on from 1 or 2 first frames, and 0 are given"
        ):
            require_context(model, places, 6, "run")
    any_frames = build(
        codec=IdentityCodec(),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 4, 4)),
        contexts={0: 0.5}, other_contexts=OtherContexts(random=0.5),
    )  # fmt: skip
    assert is_trained(any_frames, (), 6) and is_trained(any_frames, (3, 4), 6)
    layout = KnownLayout((0, 5), torch.rand(2, 3, 8, 8))
    made = make(maker(model, layout))[0][0]
    assert torch.equal(made[[0, 5]], layout.shown)


def test_keyframes_come_first_and_each_window_meets_two_of_them(any_frames):
    one = replace(maker(any_frames, FIRST, frames=16), keyframes=4)
    pieces = make(one)
    assert one.windows == 4 and [piece.shape[1] for piece in pieces] == [6, 5, 5]
    whole = torch.cat(pieces, dim=1)[0]
    assert torch.equal(whole[:2], FIRST.shown)
    first = KnownLayout((0,), FIRST.shown[:1])
    keys = make(maker(any_frames, first, frames=4, window=4))[0][0]
    torch.testing.assert_close(whole[::5], keys)
    assert (whole[1:5] - keys[:1]).abs().max() > 1e-3


def test_so_many_keyframes_may_be_asked_as_one_likes_whatever_the_codec_takes():
    model = build(
        codec=KLCodec(channels=4, widths=(8, 8, 8), temporal_stride=3),
        contexts={0: 0.5}, other_contexts=OtherContexts(random=0.5),
    )  # fmt: skip
    pieces = make(replace(maker(model, FIRST, frames=25, window=7), keyframes=5))
    assert [piece.shape[1] for piece in pieces] == [7, 6, 6, 6]


def test_a_window_reads_the_one_before_through_noise_where_that_was_trained(model):
    plain = maker(model, FIRST, frames=10)
    pieces, noisy = make(plain), make(replace(plain, context_noise=0.5))
    assert torch.equal(pieces[0], noisy[0]) and not torch.equal(pieces[1], noisy[1])
    with pytest.raises(ValueError, match="in 0 to the 0 that RUN was trained with .*; got 0.5"):
        require_noise(model, 0.5, "RUN", True)
    with pytest.raises(ValueError, match="of clips that are made window after window"):
        require_noise(model, 0.5, "RUN", False)
    require_noise(model, 0.0, "RUN", False)
