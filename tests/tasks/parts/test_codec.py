"""The loss of the video autoencoder, and the pixels that it looks at twice."""

from types import SimpleNamespace

import pytest
import torch

from worldgen.diffusion.codec import KLCodec
from worldgen.diffusion.quantized import FSQCodec, VQCodec
from worldgen.tasks.parts.codec import CodecTask, changing_pixels, moving_pixels


def slide():
    """A white pixel that moves along the first row of a black picture."""
    frames = torch.zeros(1, 5, 3, 8, 8)
    for t in range(5):
        frames[0, t, :, 0, t] = 1
    return frames


def test_what_moves_is_where_something_is_and_what_changes_where_it_ever_was():
    assert torch.equal(moving_pixels(slide()), slide()[:, :, :1] > 0)
    changing = changing_pixels(slide())
    assert changing.shape == (1, 1, 1, 8, 8) and changing.sum() == 5 and changing[..., 0, :5].all()
    assert not changing_pixels(0.09 * slide()).any()


def test_moving_pixels_weigh_more_and_a_step_draws_the_same_again(truth):
    torch.manual_seed(0)
    codec = KLCodec(channels=4, widths=(16, 16, 16), temporal_stride=3)
    losses = []
    for moving in (0.0, 4.0, 4.0):
        task = CodecTask(codec, moving=moving)
        logged = {}
        task.log_dict = lambda values, logged=logged, **_: logged.update(values)
        task.log = lambda *_, **__: None
        loss = task.training_step(truth, 0)
        assert loss.item() == pytest.approx(float(logged["train/distance"] + task.kl * logged["train/kl"]))
        losses.append(loss.item())
    assert losses[0] < losses[1] == losses[2]
    loss.backward()
    assert all(weight.grad is not None for weight in codec.parameters())


def test_latents_are_measured_to_have_unit_size(truth):
    torch.manual_seed(0)
    task = CodecTask(KLCodec(channels=4, widths=(16, 16, 16), temporal_stride=3))
    task._trainer = SimpleNamespace(train_dataloader=[truth])
    task.measure_latents()
    z = task.codec.encode(truth)
    torch.testing.assert_close(z.mean(dim=(0, 1, 3, 4)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(dim=(0, 1, 3, 4)), torch.ones(4), atol=1e-2, rtol=0)


@pytest.mark.parametrize("kind", [KLCodec, VQCodec, FSQCodec])
def test_every_bottleneck_learns_to_restore_a_clip(kind, truth):
    """A hundred steps on one clip halve the loss, and codes are used."""
    torch.manual_seed(0)
    codec = kind(widths=(16, 16, 16), temporal_stride=3, **({"codes": 64} if kind is VQCodec else {}))
    task, logged = CodecTask(codec), {}
    task.log_dict = lambda values, **_: logged.update(values)
    task.log = lambda name, value, **_: logged.update({name: value})
    optimizer, losses = torch.optim.Adam(codec.parameters(), lr=3e-3), []
    for step in range(60):
        task._trainer = SimpleNamespace(global_step=step)
        optimizer.zero_grad()
        loss = task.training_step(truth, step)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    if kind is not KLCodec:
        assert logged["train/codes_used"] > 0 and logged["train/perplexity"] > 2
    task.validation_step(truth, 0)
    assert torch.isfinite(torch.as_tensor(logged["val/psnr"]))
