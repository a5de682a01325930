from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from worldgen.data.batching import stack_clips
from worldgen.physics.readout import NothingSeen, ObjectReadout, TooManySeen, load_readout
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.parts.reading_errors import reading_errors_of

NANO = Path(__file__).resolve().parents[2] / "assets" / "nano" / "readout"


@pytest.fixture(scope="module")
def readout():
    return load_readout(str(NANO))


@pytest.fixture(scope="module")
def clips():
    return stack_clips([simulate_clip(family, 900) for family in ("collide", "drop", "bounce")])


def test_the_shipped_readout_reads_positions_to_a_tenth_of_a_pixel_and_knows_it(readout, clips):
    states, deviations = readout(clips)
    truth = clips.truth
    for row in range(len(clips)):
        count = int(truth.present[row, 0].sum())
        assert states.present[row].sum(dim=-1).tolist() == [count] * 16
        order = truth.position[row, 0, :count, 0].argsort()
        off = states.position[row, :, :count] - truth.position[row][:, order]
        assert off.norm(dim=-1).median() * 26 < 0.1
        assert off.norm(dim=-1).max() * 26 < 0.5
        assert_close(states.extent[row, :count], truth.extent[row, order], rtol=0.06, atol=0)
        deviation = deviations[row, :, :count]
        assert 0.4 < (off[..., ::2].abs() < deviation[..., None]).float().mean() <= 1
        assert (deviation * 26 < 0.5).all()
    assert_close(states.dt, truth.dt)


def test_what_is_read_of_a_frame_depends_on_no_later_one(readout, clips):
    whole, part = readout.look(clips.frames[:1]), readout.look(clips.frames[:1, :3])
    assert_close(whole.pixels[:, :3], part.pixels, atol=1e-4, rtol=1e-4)
    assert_close(whole.presence[:, :3], part.presence, atol=1e-4, rtol=1e-4)


def test_a_mirrored_clip_is_read_mirrored(readout, clips):
    reading, mirrored = readout.look(clips.frames[:1]), readout.look(clips.frames[:1].flip(-1))
    x = 63 - mirrored.pixels[..., 0].flip(-1)  # the left one is now the right one
    assert_close(x, reading.pixels[..., 0], atol=0.4, rtol=0)


def test_the_gradient_of_a_position_says_how_frames_must_change(readout, clips):
    """Toward the next frame the things move as they do: by the chain rule, and by a small step."""
    now, later = clips.frames[:1, :1], clips.frames[:1, 1:2]
    share = torch.tensor(0.0, requires_grad=True)
    x = readout.look(now + share * (later - now)).pixels[0, 0, :, 0]
    (slope,) = torch.autograd.grad(x[0], share)
    stepped = [readout.look(now + step * (later - now)).pixels[0, 0, 0, 0] for step in (0.0, 0.02)]
    assert_close(slope, (stepped[1] - stepped[0]) / 0.02, rtol=0.05, atol=1e-2)
    assert slope.abs() > 0.3


def test_a_readout_comes_back_from_its_folder_in_half_precision(tmp_path):
    torch.manual_seed(0)
    readout = ObjectReadout(slots=1, widths=(8, 16, 24), size=32, codec="abc")
    readout.save(tmp_path / "readout")
    again = load_readout(str(tmp_path / "readout"))
    assert (again.slots, again.widths, again.size, again.codec) == (1, (8, 16, 24), 32, "abc")
    assert not any(weight.requires_grad for weight in again.parameters())
    frames = torch.rand(1, 2, 3, 32, 32)
    assert_close(again.look(frames).half_size, readout.look(frames).half_size, atol=5e-2, rtol=5e-2)


def test_what_cannot_be_read_gets_a_sentence(readout, clips):
    nothing = replace(clips, frames=torch.full_like(clips.frames, 0.5))
    with pytest.raises(NothingSeen, match="An object must be seen to be read; in clip 0 of 3 there is none"):
        readout(nothing)
    with pytest.raises(ValueError, match="reads square frames; got 32 x 64. Crop them"):
        readout.look(torch.rand(1, 2, 3, 32, 64))
    with pytest.raises(ValueError, match="needs Clip.camera"):
        readout(replace(clips, camera=None))
    crowd = simulate_clip("drop", 4, split="ood:count", frames=4)
    assert crowd.truth.position.shape[2] == 3
    with pytest.raises(TooManySeen, match="has 2 slots; in clip 0 of 1 more objects are seen"):
        readout(crowd)
    with pytest.raises(ValueError, match="learned to read what the codec .* decodes; got 123"):
        readout.require_codec("123")
    readout.require_codec(readout.codec)


@pytest.mark.parametrize("size", [48, 100, 160])
def test_frames_of_another_size_are_read_in_their_own_pixels_and_in_the_same_metres(readout, clips, size):
    families = ("collide", "drop", "bounce")
    other = stack_clips([simulate_clip(family, 900, size=size) for family in families])
    errors = reading_errors_of(readout.look(other.frames), other)
    assert errors.distance.nanmedian() < 0.12 * max(1, size / 64)
    assert errors.half_size.abs().nanmedian() < 0.03 and errors.spurious.max() == 0
    scaled = errors.scaled[~errors.scaled.isnan()].abs()
    assert 0.4 < (scaled < 1).float().mean() <= 1 and (scaled < 2).float().mean() > 0.8
    states, deviation = readout(other)
    usual, usually = readout(clips)
    assert_close(states.position, usual.position, rtol=0, atol=0.03)
    assert_close(deviation.median(), usually.median(), rtol=0.5, atol=0)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="slots must be 1 to 4, and size a multiple of 8; got 5 and 64"):
        ObjectReadout(slots=5)
    with pytest.raises(ValueError, match="size a multiple of 8; got 2 and 60"):
        ObjectReadout(size=60)
    with pytest.raises(ValueError, match="three multiples of 8; got \\[8, 12, 16\\]"):
        ObjectReadout(widths=(8, 12, 16))
