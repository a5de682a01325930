from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.codec import KLCodec
from worldgen.tasks.parts.decoder import DecoderTask


def make(**more):
    torch.manual_seed(0)
    codec = KLCodec(channels=4, widths=(16, 16, 16), temporal_stride=3)
    task = DecoderTask(codec, width=8, **more)
    task._trainer = SimpleNamespace(global_step=0)
    task.told = {}
    task.log_dict = lambda values, **_: task.told.update(values)
    task.log = lambda name, value, **_: task.told.update({name: value})
    return task


def gradients(task, truth):
    task.zero_grad()
    task.training_step(truth, 0).backward()
    return {
        name: None if weight.grad is None else weight.grad.clone() for name, weight in task.named_parameters()
    }


def test_the_decoder_learns_and_latents_stay_as_they_are(truth):
    task = make()
    before = task.codec.encode(truth)
    optimizer = torch.optim.Adam([one for one in task.parameters() if one.requires_grad], lr=3e-3)
    distances = []
    for step in range(40):
        task._trainer.global_step = step
        optimizer.zero_grad()
        task.training_step(truth, step).backward()
        optimizer.step()
        distances.append(float(task.told["train/distance"].detach()))
    assert_close(task.codec.encode(truth), before, atol=0, rtol=0)
    assert sum(distances[-5:]) < 0.7 * sum(distances[:5])


def test_the_discriminator_learns_to_tell_decoded_frames(truth):
    task = make()
    optimizer = torch.optim.Adam(task.discriminator.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        task.training_step(truth, 0).backward()
        optimizer.step()
    assert float(task.told["train/hinge"].detach()) < 1.0  # 2 of one that says 0 of everything


def test_each_learns_from_its_own_part_of_the_loss(truth):
    """The discriminator's gradient is that of its hinge alone, whatever the decoder makes of its word."""
    deaf, heard = (gradients(make(adversarial=weight), truth) for weight in (1e-6, 100.0))
    for name, gradient in deaf.items():
        if name.startswith("discriminator."):
            assert_close(heard[name], gradient, atol=0, rtol=0)
            # What is added to both words alike cancels, until one of them is sure.
            assert gradient.abs().max() > 0 or name == "discriminator.layers.6.bias", name
        elif gradient is not None:
            assert not torch.equal(heard[name], gradient), name
    frozen = {name.split(".")[1] for name, gradient in deaf.items() if gradient is None}
    assert frozen == {"read", "merge", "encoder_past", "to_posterior"}


def test_without_its_word_there_is_no_discriminator(truth):
    alone, barely = make(adversarial=0.0), make(adversarial=1e-9)
    assert {name.split(".")[0] for name, _ in alone.named_parameters()} == {"codec"}
    found, wanted = gradients(alone, truth), gradients(barely, truth)
    for name, gradient in found.items():
        if gradient is not None:
            assert_close(gradient, wanted[name], atol=1e-7, rtol=1e-4)


def test_noise_is_told_in_spreads_of_the_latent(truth, monkeypatch):
    task, seen = make(adversarial=0.0, noise=0.5), []
    task.codec.spread.copy_(torch.tensor([1.0, 1.0, 1.0, 4.0]))
    reconstruct = task.codec.reconstruct
    monkeypatch.setattr(task.codec, "reconstruct", lambda z: seen.append(z.detach()) or reconstruct(z))
    for task.noise in (0.0, 0.5):
        task.training_step(truth, 0)
    off = (seen[1] - seen[0]).transpose(1, 2).flatten(2).std(dim=-1)  # (B, C)
    assert_close(off[:, 3] / off[:, :3].mean(dim=1), torch.full((len(off),), 4.0), atol=0.6, rtol=0)
    assert float(off[:, 0].min()) > 0 and float(off[:, 0].max()) < 0.55


def test_the_discriminator_watches_time():
    """Frames in another order are another video to it, each as real as it was."""
    torch.manual_seed(0)
    task, frames = make(), torch.rand(1, 4, 3, 16, 16)
    there, back = (task.discriminator(one).mean(dim=(1, 3, 4)) for one in (frames, frames.flip(1)))
    assert there.shape == (1, 4)
    assert (there - back.flip(1)).abs().max() > 1e-4


def test_what_is_exported_keeps_its_normalization(truth, tmp_path):
    task = make()
    task.codec.shift.fill_(0.3)
    task._trainer = SimpleNamespace(is_global_zero=True, log_dir=str(tmp_path))
    task.on_fit_end()
    assert (tmp_path / "codec" / "model.safetensors").is_file()
    assert float(task.codec.shift[0]) == pytest.approx(0.3)
