from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.data.batching import stack_clips
from worldgen.diffusion.context import encode_held, hold
from worldgen.diffusion.state_codec import StateCodec
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.render import film_trajectory


@pytest.fixture(scope="module")
def clip():
    return stack_clips(
        [simulate_clip("collide", 1, size=32, frames=6), simulate_clip("bounce", 2, size=32, frames=6)]
    )


def test_states_are_the_inverse_of_encode(clip):
    codec = StateCodec()
    states = codec.states(codec.encode(clip), clip)
    seen = clip.truth.present
    assert_close(states.position[seen], clip.truth.position[seen], atol=1e-5, rtol=1e-5)
    assert torch.equal(states.present, seen)
    middle = states.velocity[:, 1:-1][seen[:, 1:-1]]
    difference = (clip.truth.position[:, 2:] - clip.truth.position[:, :-2]) / 0.08
    assert_close(middle, difference[seen[:, 1:-1]], atol=1e-3, rtol=1e-3)


def test_decode_films_the_truth(clip):
    codec = StateCodec(renderer=film_trajectory)
    frames = codec.decode(codec.encode(clip), clip)
    assert (frames - clip.frames).abs().max() <= 1.01 / 255


def test_the_latent_is_causal_and_a_first_frame_tells_no_velocity(clip):
    codec = StateCodec()
    z = codec.encode(clip)
    assert_close(codec.encode(hold(clip, 3, 6))[:, :3], z[:, :3])
    first = z[:, 0, :, 0, 0].unflatten(-1, (2, 8))
    assert_close(first[..., 3:6], torch.zeros_like(first[..., 3:6]))
    assert_close(encode_held(codec, clip, 2, 6), codec.encode(hold(clip, 2, 6)))


class Shifted(torch.nn.Module):
    """Reads everything a metre too far to the right."""

    def forward(self, clip):
        truth = clip.truth
        return replace(truth, position=truth.position + torch.tensor([1.0, 0, 0])), truth.mass


def test_with_a_reader_states_are_what_it_reads(clip):
    codec, seen = StateCodec(reader=Shifted()), clip.truth.present
    z = codec.encode(clip)
    right = codec.states(z, clip).position - clip.truth.position
    assert_close(right[seen], torch.tensor([1.0, 0, 0]).expand_as(right[seen]), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="StateCodec holds 1 objects; got 2"):
        StateCodec(objects=1, reader=Shifted()).encode(clip)


def test_bad_input_gets_a_sentence(clip):
    with pytest.raises(ValueError, match="StateCodec holds 1 objects; got 2"):
        StateCodec(objects=1).encode(clip)
    blind = type(clip)(clip.frames, clip.fps, clip.prompts)
    with pytest.raises(ValueError, match="needs Clip.truth, and the clip has none"):
        StateCodec().encode(blind)
    with pytest.raises(ValueError, match="needs a renderer and Clip.scenes"):
        StateCodec().decode(StateCodec().encode(clip), clip)
