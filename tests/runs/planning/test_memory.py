import pytest
import torch
from lightning.pytorch import Trainer

from tests.allocations import most_allocated
from tests.models import build
from worldgen.diffusion.codec import IdentityCodec
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.state_codec import StateCodec
from worldgen.diffusion.tiles import TiledCodec
from worldgen.hub import sizes_only
from worldgen.runs.planning.memory import (
    Memory,
    play_encoding,
    play_step,
    predict_memory,
)
from worldgen.runs.planning.played import empty_latents
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.optimizers import AdamW

SHAPE = (4, 16, 16)


def task():
    with sizes_only():
        return build(
            WorldGenerator,
            codec=IdentityCodec(),
            denoiser=lambda *sizes: DiT(*sizes, dim=48, depth=2, heads=2, patch=(1, 2, 2)),
        )


def peaks(batch, lowered=False, again=False):
    return play_step(task(), batch, SHAPE, lowered, again)


def test_what_is_held_is_the_gradients_and_what_adamw_keeps():
    peaks(2)  # tables of positions are made once
    made = task()
    learned = [one for one in made.parameters() if one.requires_grad]
    held, _ = play_step(made, 2, SHAPE, False, False)
    assert held == 3 * 4 * sum(one.numel() for one in learned)


def test_the_peak_is_that_of_the_same_step_on_real_tensors():
    """Torch's own profiler counts what a real step allocates and frees, kernel by kernel."""
    torch.manual_seed(0)
    model = build(
        codec=IdentityCodec(),
        denoiser=lambda *sizes: DiT(*sizes, dim=48, depth=2, heads=2, patch=(1, 2, 2)),
    )
    optimizer = AdamW().make(model, 1e-3, 0.0)

    def step():
        latents = empty_latents(model, 8, SHAPE, "cpu")
        which, keep = torch.zeros(8, dtype=torch.long), torch.ones(8, 0, dtype=torch.bool)
        loss = model.loss(latents, which, torch.rand(8), torch.randn_like(latents.z), keep).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    learned = sum(one.numel() for one in model.parameters() if one.requires_grad)
    most = most_allocated(step)
    held, peak = peaks(8)
    assert abs((peak - held) - most) < 0.1 * most + 4 * learned


def test_the_peak_grows_with_the_clips_and_less_is_kept_where_it_can_be():
    two, four, eight = (peaks(batch)[1] for batch in (2, 4, 8))
    assert eight - four == pytest.approx(2 * (four - two), rel=0.02)
    assert peaks(8, again=True)[1] < eight - 0.2 * (eight - two)
    assert peaks(8, lowered=True)[1] < eight


def test_the_host_holds_all_where_there_is_no_other_device():
    cpu = Memory("cpu", 1000, 100, 20, 3)
    assert (cpu.holes, cpu.host, cpu.on_device) == (1, 1124, 0)  # half of a step again, by malloc
    cuda = Memory("cuda", 1000, 100, 20, 3)
    assert (cuda.holes, cuda.host, cuda.on_device) == (0, 1000, 123)


def test_the_weights_of_a_task_are_counted():
    made = task()
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    found = predict_memory(made, trainer, 2, SHAPE)
    buffers = sum(one.numel() * one.element_size() for one in made.buffers())
    assert found.weights == 4 * sum(one.numel() for one in made.parameters()) + buffers
    assert found.step > 0 and found.process > 50 * 2**20


def test_the_peak_of_encoding_is_that_of_its_largest_layers():
    """A convolution has its input and its output at once: 16 clips, 4 frames of 8 x 8, 3 and 5 channels."""

    class Convolution(IdentityCodec):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 5, 1)

        def encode(self, clip):
            return self.layer(clip.frames.flatten(0, 1)).unflatten(0, clip.frames.shape[:2])

    with sizes_only():
        codec = Convolution()
    assert play_encoding(codec, (4, 8, 8)) == 16 * 4 * 8 * 8 * (3 + 5) * 4
    assert play_encoding(StateCodec(), (4, 8, 8)) == 0
    by_tiles = TiledCodec(codec, tile=4)
    assert play_encoding(by_tiles, (4, 4, 4)) == play_encoding(codec, (4, 4, 4))
    assert play_encoding(by_tiles, (4, 8, 8)) == play_encoding(codec, (4, 4, 4)) + 16 * 4 * (64 - 16) * 3 * 4


def test_a_codec_that_looks_at_values_is_not_counted_and_it_is_said():
    class Looking(IdentityCodec):
        def encode(self, clip):
            return clip.frames * max(clip.frames.flatten().tolist())

    with pytest.warns(UserWarning, match="What Looking takes to encode clips is not counted: "):
        assert play_encoding(Looking(), (4, 8, 8)) == 0
