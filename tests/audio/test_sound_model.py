from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.audio.audio_codec import AudioCodec
from worldgen.audio.sound_model import AROUND, SoundModel
from worldgen.conditioning import Conditioner
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.physics.readout import ObjectReadout
from worldgen.types import Clip


def model(seconds=0.16):
    torch.manual_seed(0)
    made = SoundModel(
        AudioCodec(bands=8, steps=4),
        ObjectReadout(widths=(8, 8, 8), size=16),
        Conditioner(dim=16, queries=2),
        lambda *sizes: DiT(*sizes, dim=16, depth=1, heads=2, patch=(2, 1, 1)),
        CleanFlowMatching(),
        Sampler(steps=2),
        seconds,
    )
    for weight in made.denoiser.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return made.eval()


@pytest.fixture(scope="module")
def made():
    return model()


def clips(frames=8, size=16, count=2):
    pixels = torch.rand(count, frames, 3, size, size, generator=torch.Generator().manual_seed(1))
    return Clip(pixels, torch.full((count,), 25.0), ("a ball",) * count)


@pytest.mark.parametrize("frames", [3, 8, 13])
def test_the_sound_is_as_long_as_the_frames_and_the_same_for_a_seed(made, frames, monkeypatch):
    moving = torch.rand(2, frames, 2, 4, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(made, "read", lambda clip: moving.round(decimals=3).clamp(min=0.6))
    sound = made.generate(clips(frames), seed=1)
    assert sound.shape == (2, frames * 640) and sound.abs().max() <= 1
    assert torch.equal(sound, made.generate(clips(frames), seed=1))
    assert not torch.equal(sound, made.generate(clips(frames), seed=2))


def test_each_moment_reads_the_frames_around_it(made):
    read = torch.zeros(1, 5, 1, 4)
    read[..., 3] = 1
    read[0, :, 0, 1] = torch.tensor([0.0, 0.1, 0.3, 0.2, 0.2])  # down, in half pictures
    beside = made.lay(read, torch.tensor([25.0]), 50)[0, :, :, 0, 0]  # 250 steps a second, 10 a frame
    place, moved, since = beside[:, 1], beside[:, 4:-1].unflatten(1, (2 * AROUND, 2))[..., 1], beside[:, -1]
    assert_close(place[::10], read[0, :, 0, 1])
    speed = 25 * 0.01 * 16 / 2  # per half picture in a frame
    assert_close(moved[25], torch.tensor([0, 0.1, 0.2, -0.1, 0, 0]).float().roll(0) * speed)
    assert_close(moved[5], torch.tensor([0, 0, 0, 0.1, 0.2, -0.1]) * speed)
    assert_close(since[20:30], torch.linspace(-0.5, 0.4, 10), rtol=0, atol=1e-5)


def test_what_is_not_seen_has_no_speed(made):
    read = torch.rand(1, 5, 1, 4, generator=torch.Generator().manual_seed(0))
    read[..., 3] = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])[:, None]
    moved = made.lay(read, torch.tensor([25.0]), 50)[0, 20, 4:-1, 0, 0].unflatten(0, (2 * AROUND, 2))
    assert moved[[0]].eq(0).all() and moved[1].ne(0).all() and moved[2:4].eq(0).all() and moved[4].ne(0).all()


def test_only_what_was_trained_is_kept_and_frames_that_are_not_square_are_refused(made):
    assert made.trained_state() and not any(name.startswith("readout.") for name in made.trained_state())
    assert made.frozen_fingerprint().startswith("ObjectReadout:")
    with pytest.raises(ValueError, match="reads square frames; got 16 x 12"):
        made.generate(replace(clips(), frames=clips().frames[..., :12]))
    with pytest.raises(ValueError, match="at least two steps of the codec; got 0.001"):
        model(seconds=0.001)


def test_every_part_of_the_loss_has_a_gradient(made):
    learning = model()
    z, context = torch.randn(2, 40, 8, 1, 1), learning.lay(learning.read(clips()), torch.full((2,), 25.0), 40)
    loss = learning.loss(z, context, (), torch.Generator().manual_seed(0))
    assert loss.shape == (2,)
    loss.mean().backward()
    assert all(one.grad is not None for one in learning.denoiser.parameters())
    assert all(one.grad is None for one in learning.readout.parameters())
    assert not torch.equal(loss, learning.loss(z, context + 1, (), torch.Generator().manual_seed(0)))


def test_the_frozen_parts_are_named_by_what_changes_the_sound():
    one, other = model(), model()
    other.readout.codec = "another"  # whose noise it knows: frames are read alike
    assert one.frozen_fingerprint() == other.frozen_fingerprint()
    other.readout.slots = 3
    assert one.frozen_fingerprint() != other.frozen_fingerprint()
    other.readout.slots = 2
    next(other.readout.parameters())[0] += 1
    assert one.frozen_fingerprint() != other.frozen_fingerprint()
