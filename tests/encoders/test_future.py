"""What may look at the future says so, and what expects it does not look."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import layer_norm
from torch.testing import assert_close
from transformers import VJEPA2Model, VJEPA2VideoProcessor

from tests.tiny import tiny_vjepa2
from worldgen.encoders.base import fingerprint
from worldgen.encoders.future import PredictedVJEPA2, WholeClip
from worldgen.encoders.lora import Lora
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.types import Clip

TINY = tiny_vjepa2()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    model = VJEPA2Model(TINY)
    torch.nn.init.uniform_(model.encoder.layernorm.weight, 0.5, 2.0)  # as training leaves it
    model.save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)
    return folder


@pytest.fixture
def clip():
    frames = torch.rand(2, 8, 3, 36, 36, generator=torch.Generator().manual_seed(1))
    return Clip(frames, torch.full((2,), 8.0), ("", ""))


def changed_after(clip, known):
    frames = clip.frames.clone()
    frames[:, known:] = 1 - frames[:, known:]
    return replace(clip, frames=frames)


def test_a_whole_clip_is_the_encoders_own_tokens_and_owns_up_to_it(folder, clip):
    inner = VJEPA2(str(folder))
    whole = WholeClip(inner)
    assert whole.sees_future and not inner.sees_future
    assert torch.equal(whole.encode(clip).values, inner.encode(clip).values)
    assert torch.equal(whole.positions(clip), inner.positions(clip))
    assert whole.dim == inner.dim and not whole.trained()
    assert fingerprint(whole) == fingerprint(WholeClip(VJEPA2(str(folder))))
    assert fingerprint(whole) != fingerprint(WholeClip(VJEPA2(str(folder), frames=4)))
    with pytest.raises(ValueError, match="must be frozen; VJEPA2 has an adapter that learns"):
        WholeClip(VJEPA2(str(folder), adapter=Lora(rank=2)))


def test_predicted_tokens_depend_on_the_known_frames_alone(folder, clip):
    encoder = PredictedVJEPA2(str(folder), context=4, target=4)
    assert not encoder.sees_future
    values, mask = encoder.prepare(clip)
    assert values.shape == (2, 4 * 2 * 2, 32) and bool(mask.all())
    assert (encoder.prepare(changed_after(clip, 4)).values - values).abs().max() == 0.0
    assert (encoder.prepare(changed_after(clip, 3)).values - values).abs().max() > 1e-3


def test_predicted_tokens_are_what_was_seen_and_what_is_expected(folder, clip):
    plain = VJEPA2(str(folder))
    values = PredictedVJEPA2(str(folder), context=2, target=6).encode(clip).values
    seen = plain.context_only(clip, 2).values
    assert_close(values[:, :4], layer_norm(seen, (32,)))
    assert_close(values[:, 4:], plain.predict(clip, 2, 6).values)


def test_the_future_need_not_be_there(folder, clip):
    encoder = PredictedVJEPA2(str(folder), context=4, target=4)
    known = replace(clip, frames=clip.frames[:, :4])
    assert torch.equal(encoder.encode(known).values, encoder.encode(clip).values)
    assert torch.equal(encoder.positions(known), VJEPA2(str(folder)).positions(clip))


def test_what_cannot_be_predicted_is_refused(folder, clip):
    with pytest.raises(ValueError, match="context must lie in 1 .. 8 frames, the clip's length; got 10"):
        PredictedVJEPA2(str(folder), context=10, target=4).encode(clip)
    with pytest.raises(ValueError, match="context must be a multiple of 2 frames"):
        PredictedVJEPA2(str(folder), context=3, target=5).encode(clip)
