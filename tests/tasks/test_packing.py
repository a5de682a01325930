"""Clips of several shapes in one row train as each would alone, through the whole step."""

import lightning
import pytest
import torch
from torch.testing import assert_close

from tests.models import build
from worldgen.conditioning import Conditioner
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.packing import Packed
from worldgen.data.shards.shards import write_shards
from worldgen.diffusion.codec import KLCodec
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.packing import Piece, draw_pieces, join_conditions, packed_loss
from worldgen.tasks.regularizers.base import Regularizer
from worldgen.tasks.schedule import step_generator
from worldgen.tasks.speed import SpeedLog
from worldgen.types import Clip, Conditioning, select

FORMS = ((7, 16, 16), (1, 16, 16), (4, 16, 32), (10, 16, 16), (1, 32, 16), (4, 24, 16))
"""Frames, rows and columns: clips of several lengths and ratios, and pictures."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    clips = []
    for number in range(24):
        frames, height, width = FORMS[number % len(FORMS)]
        clip = simulate_clip(("drop", "bounce")[number % 2], number, size=32, frames=max(frames, 8))
        clips.append(Clip(clip.frames[:, :frames, :, :height, :width].contiguous(), clip.fps, clip.prompts))
    write_shards(clips, folder)
    return folder


class Watched(WorldGenerator):
    """Takes each step's loss again, clip by clip, with the same noise."""

    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        pieces = draw_pieces(self.model, batch, step_generator(self, self.seed, index))
        alone = [one for piece in pieces for one in losses_alone(self.model, piece)]
        self.__dict__.setdefault("seen", []).append((batch, loss, torch.stack(alone).mean()))
        return loss


def losses_alone(model, piece):
    for place in range(len(piece.latents.z)):
        row = slice(place, place + 1)
        columns = tuple(column[row] for column in piece.latents.columns())
        yield model.loss(type(piece.latents).from_columns(columns), *(drawn[row] for drawn in piece.draws))[0]


def make(folder, kind=Watched, **changes):
    torch.manual_seed(0)
    model = build(
        kind, codec=KLCodec(channels=4, widths=(8, 8, 8)), conditioner=Conditioner(dim=16, queries=2),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=2, heads=2, patch=(1, 1, 1)),
        process=CleanFlowMatching(shift=3.0, cells=12), contexts={0: 0.5, 2: 0.5}, cache=folder / "cache",
        sampled=0, **changes,
    )  # fmt: skip
    for one in model.model.denoiser.parameters():  # not silent, as it is to begin with
        if not one.any():
            torch.nn.init.normal_(one, std=0.1)
    return model


def fit(shards, folder, steps, tokens=32, checkpoint=None, callbacks=(), **changes):
    model = make(folder, **changes)
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks), log_every_n_steps=1,
    )  # fmt: skip
    data = ClipDataModule(train=shards, packed_tokens=tokens)
    trainer.fit(model, data, ckpt_path=checkpoint, weights_only=None if checkpoint is None else False)
    return model, trainer


def test_each_step_has_the_mean_loss_of_its_clips_alone(shards, tmp_path):
    model, _ = fit(shards, tmp_path, 12)
    forms = set()
    for batch, packed, alone in model.seen:
        assert isinstance(batch, Packed)
        sizes = [len(part[0]) * part[0].shape[1] * part[0].shape[3:].numel() for part in batch.parts]
        assert sum(sizes) <= 32
        forms |= {part[0].shape[1:] for part in batch.parts}
        assert_close(packed, alone, rtol=1e-5, atol=1e-6)
    assert len(forms) == len(FORMS) and max(len(batch.parts) for batch, *_ in model.seen) > 1


def test_gradients_are_the_mean_of_those_of_the_clips_alone(shards, tmp_path):
    model = make(tmp_path)
    clips = ClipDataModule(train=shards).train_source()
    batch = Packed(tuple(model.model.encode(clips[number]).columns() for number in range(6)))
    pieces = draw_pieces(model.model, batch, torch.Generator().manual_seed(1))
    alone = torch.stack([one for piece in pieces for one in losses_alone(model.model, piece)]).mean()
    learned = [one for one in model.model.parameters() if one.requires_grad]
    expected = torch.autograd.grad(alone, learned, allow_unused=True)
    packed = packed_loss(model.model, pieces)
    found = torch.autograd.grad(packed, learned, allow_unused=True)
    pairs = [(one, other) for one, other in zip(found, expected, strict=True) if other is not None]
    assert len(pairs) > 20
    for one, other in pairs:
        assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_run_that_goes_on_ends_with_the_same_bits(shards, tmp_path):
    whole, _ = fit(shards, tmp_path, 11, kind=WorldGenerator)
    stop = _StopAt(4, tmp_path / "four.ckpt")
    first, _ = fit(shards, tmp_path, 11, kind=WorldGenerator, callbacks=[stop])
    resumed, _ = fit(shards, tmp_path, 11, kind=WorldGenerator, checkpoint=stop.path)
    expected, found = (one.model.trained_state() for one in (whole, resumed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(not torch.equal(expected[name], value) for name, value in first.model.trained_state().items())


class _StopAt(lightning.Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def test_speed_is_counted_of_each_clip(shards, tmp_path):
    speed = SpeedLog(peak=1.0)
    fit(shards, tmp_path, 8, kind=WorldGenerator, callbacks=[speed])
    assert len(speed._counts) == len(FORMS) and {shape[0] for shape in speed._counts} == {1}
    tokens = {shape: shape[1] * shape[3] * shape[4] for shape in speed._counts}
    least, most = min(speed._counts, key=tokens.get), max(speed._counts, key=tokens.get)
    ratio = speed._counts[most] / speed._counts[least]
    assert 0.9 * tokens[most] / tokens[least] < ratio < 2 * tokens[most] / tokens[least]


def test_shorter_conditions_are_padded_and_not_attended_to():
    one, other = (
        Conditioning(torch.randn(2, length, 8), torch.ones(2, length, dtype=torch.bool), torch.randn(2, 8))
        for length in (3, 5)
    )
    joined = join_conditions([one, other])
    assert joined.tokens.shape == (4, 5, 8) and joined.mask.sum(dim=1).tolist() == [3, 3, 5, 5]
    assert torch.equal(joined.tokens[:2, :3], one.tokens) and torch.equal(joined.pooled[2:], other.pooled)
    assert not joined.tokens[:2, 3:].any() and len(select(joined, slice(1, 2)).mask) == 1


def test_packing_is_refused_where_nothing_takes_it(shards):
    with pytest.raises(ValueError, match="for latents that a generator learns from"):
        ClipDataModule(train=shards, packed_tokens=32).train_dataloader()
    with pytest.raises(ValueError, match="leave out one or the other"):
        ClipDataModule(train=shards, packed_tokens=32, power=1.0)
    with pytest.raises(ValueError, match="data.packed_tokens must be at least 1; got 0"):
        ClipDataModule(train=shards, packed_tokens=0)


def test_a_clip_larger_than_a_batch_is_refused(shards, tmp_path):
    with pytest.raises(ValueError, match="the largest clip, which has 16 tokens; data.packed_tokens is 8"):
        fit(shards, tmp_path, 1, tokens=8)


def test_a_piece_knows_its_clips_and_draws(shards, tmp_path):
    model = make(tmp_path).model
    clip = ClipDataModule(train=shards).train_source()[0]
    batch = Packed((model.encode(clip).columns(),))
    (piece,) = draw_pieces(model, batch, torch.Generator().manual_seed(0))
    assert isinstance(piece, Piece) and piece.draws[2].shape == piece.latents.z.shape


class Nothing(Regularizer):
    def __call__(self, model, step, generator):
        return step.estimate.sum() * 0


def test_what_is_asked_of_one_shape_is_not_asked_of_several(shards, tmp_path):
    with pytest.raises(ValueError, match="regularizers are asked of clips of one shape"):
        fit(shards, tmp_path, 1, regularizers=[Nothing()])
