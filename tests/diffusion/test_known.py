from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.codec import IdentityCodec, KLCodec
from worldgen.diffusion.context import context_mask, context_motion, encode_held, hold
from worldgen.diffusion.known import Known, OtherContexts, choice_odds, choose_places, known_mask
from worldgen.diffusion.optical_flow import optical_flow
from worldgen.simulation.clips import simulate_clip


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("collide", 5, size=16, frames=10)


def test_first_frames_are_laid_as_they_always_were(clip):
    codec = KLCodec(channels=4, widths=(8, 8, 8))
    for count in (0, 1, 2, 4):
        known = Known.of(clip, range(count), 10)
        held = hold(clip, count, 10)
        assert torch.equal(known.clip.frames, held.frames) and known.leads == count
        assert torch.equal(known.still(codec), encode_held(codec, clip, count, 10))
        assert torch.equal(known.motion((2, 2)), context_motion(clip, count, (2, 2)))
        assert torch.equal(known_mask(codec, known.places, 10), context_mask(codec, count, 10))


def test_what_is_not_known_stands_as_the_last_known_frame_before_it_or_as_the_first_one(clip):
    known = Known.of(clip, (8, 3, 4), 10)
    shown = [3, 3, 3, 3, 4, 4, 4, 4, 8, 8]
    assert known.places == (3, 4, 8) and known.leads == 0
    assert torch.equal(known.clip.frames, clip.frames[:, shown])
    assert torch.equal(known.clip.truth.position, clip.truth.position[:, shown])
    assert known.clip.sound is None and known.clip.imu is None
    later = replace(clip, frames=clip.frames.clone())
    later.frames[:, 5:8] = 0.5
    assert torch.equal(Known.of(later, (3, 4, 8), 10).clip.frames, known.clip.frames)
    assert_close(known.still(IdentityCodec()), clip.frames[:, shown] * 2 - 1)


def test_motion_is_that_of_the_leading_frames_or_else_of_the_first_pair(clip):
    def flow(place):
        return optical_flow(clip.frames[:, place], clip.frames[:, place + 1], (4, 4))

    assert torch.equal(Known.of(clip, (0, 1, 2, 8, 9), 10).motion((4, 4)), flow(1))
    assert torch.equal(Known.of(clip, (0, 7, 8), 10).motion((4, 4)), flow(7))
    assert not Known.of(clip, (0, 4, 9), 10).motion((4, 4)).any()


def test_known_frames_are_read_through_noise_that_is_told_and_is_the_same_on_all_steps(clip):
    codec, known = IdentityCodec(), Known.of(clip, (0, 1), 10)
    still, mask = known.still(codec), known_mask(codec, known.places, 10)[None]
    assert known.read(still, mask, [3])[0] is still
    read, told = replace(known, noise=0.25).read(still, mask, [3])
    added = read - still
    assert_close(added, added[:, :1].expand_as(added), atol=1e-6, rtol=0)
    assert abs(float(added[:, 0].std()) - 0.25) < 0.03
    assert_close(told, 0.75 * mask)
    assert torch.equal(replace(known, noise=0.25).read(still, mask, 3)[0], read)
    assert not torch.equal(replace(known, noise=0.25).read(still, mask, [4])[0], read)


def test_known_frames_are_put_where_they_belong(clip):
    made = torch.zeros_like(clip.frames)
    found = Known.of(clip, (2, 9), 10).put(made)
    assert torch.equal(found[:, [2, 9]], clip.frames[:, [2, 9]]) and not found[:, [0, 1, 3, 8]].any()


def test_the_mask_of_any_frames_lies_on_latent_steps():
    codec = KLCodec(channels=4, widths=(8, 8, 8), temporal_stride=3)
    assert known_mask(codec, (0, 3, 8), 10).tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("places", [(10,), (-1, 2), (3, 12)])
def test_known_frames_beyond_the_clip_are_refused(clip, places):
    with pytest.raises(ValueError, match="Known frames must lie in 0 to 9, within the clip; got"):
        Known.of(clip, places, 10)


def test_other_contexts_are_drawn_once_and_by_their_own_seed():
    def drawn(**changes):
        return OtherContexts(**{"last": {2: 0.2}, "both": {1: 0.2}, "random": 0.2, "sets": 4, **changes})

    found = drawn().places(16)
    assert found[:2] == [(14, 15), (0, 15)] and len(set(found[2:])) == 4
    assert all(1 <= len(places) <= 10 for places in found[2:])
    state = torch.get_rng_state()
    assert drawn().places(16) == found and drawn(seed=1).places(16)[2:] != found[2:]
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn().describe() != drawn(seed=1).describe() != drawn(last={3: 0.2}).describe()
    assert choose_places((0, 1), drawn(), 16) == [(), (0,), *found]
    assert choice_odds({1: 0.3, 0: 0.1}, drawn()) == [0.1, 0.3, 0.2, 0.2, 0.05, 0.05, 0.05, 0.05]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"random": -0.5}, "shares of 0 or more"),
        ({"last": {0: 0.4}}, "1 or more last frames"),
        ({"random": 0.4, "sets": 0}, "1 or more sets"),
    ],
)
def test_contexts_that_are_none_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        OtherContexts(**changes)
