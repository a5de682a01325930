import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

from worldgen.data.batching import stack_clips
from worldgen.encoders.base import Encoder, Tokens
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.metrics.intervals import pair_accuracy
from worldgen.metrics.surprise import Standstill, Windows, expect, surprise
from worldgen.simulation.violations.graded import freeze, shuffle
from worldgen.types import Clip

TINY = VJEPA2Config(
    patch_size=16, crop_size=32, frames_per_clip=8, tubelet_size=2, hidden_size=32, num_attention_heads=2,
    num_hidden_layers=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=2,
    num_pooler_layers=1, initializer_range=0.2,
)  # fmt: skip


class Pendulum(Encoder):
    """A fake: the token of a frame is (gray, -gray, 0, 1); it expects the last known one to go on."""

    dim, frames, tubelet = 4, 8, 1

    def __init__(self):
        super().__init__()
        self.seen = []

    def encode(self, clip):
        gray = clip.frames.mean(dim=(2, 3, 4))
        values = torch.stack([gray, -gray, torch.zeros_like(gray), torch.ones_like(gray)], dim=-1)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))

    def context_only(self, clip, frames):
        return self.encode(Clip(clip.frames[:, :frames], clip.fps, clip.prompts))

    def predict(self, clip, context, target):
        self.seen.append(clip.frames.shape[1])
        last = self.encode(clip).values[:, -1:]
        values = F.layer_norm(last, (4,)).expand(-1, target, -1)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))


class Blind(Encoder):
    dim = 1

    def encode(self, clip):
        return Tokens(torch.zeros(len(clip), 1, 1), torch.ones(len(clip), 1, dtype=torch.bool))


def grays(*levels, fps=8.0):
    frames = torch.tensor(levels, dtype=torch.float32)[None, :, None, None, None].expand(1, -1, 3, 4, 4)
    return Clip(frames.contiguous(), torch.tensor([fps]), ("",))


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def vjepa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    model = VJEPA2Model(TINY)
    torch.nn.init.uniform_(model.encoder.layernorm.weight, 0.5, 2.0)  # or tokens would be normalized already
    model.save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)
    return VJEPA2(str(folder))


def token(gray):
    return F.layer_norm(torch.tensor([gray, -gray, 0.0, 1.0]), (4,)).double()


def test_closed_form_on_a_fake_encoder():
    """Windows of four frames from 0, 2 and 4 on; the world steps once, from .2 to .8 at frame 5."""
    levels = [0.2] * 5 + [0.8] * 3
    step = float((token(0.2) - token(0.8)).abs().mean())
    found = surprise(Pendulum(), grays(*levels), Windows(4, (1, 2), stride=2), batch=2)
    expected = torch.tensor([[[0.0, 0.0], [step / 3, step / 2], [step, step]]], dtype=torch.float64)
    # The last window, 4 .. 7: one known frame of .2, or two, of which the second is .8 already.
    expected[0, 2, 1] = 0.0
    assert_close(found.values, expected, atol=1e-6, rtol=0)
    assert_close(found.average, expected.mean(dim=1), atol=1e-6, rtol=0)
    assert_close(found.maximum, torch.tensor([[step, step / 2]], dtype=torch.float64), atol=1e-6, rtol=0)


def test_standstill_expects_the_last_known_features_to_go_on(vjepa):
    """As the fake does, which it must equal; and of V-JEPA those of the context alone, normalized."""
    clip, windows = grays(*[0.2] * 5, *[0.8] * 3), Windows(4, (1, 2, 3))
    own, still = (surprise(fake, clip, windows).values for fake in (Pendulum(), Standstill(Pendulum())))
    assert_close(still, own, atol=0, rtol=0)
    clip = Clip(noise(1, 8, 3, 36, 36), torch.tensor([8.0]), ("",))
    made = Standstill(vjepa).predict(clip, 4, 4).values
    last = F.layer_norm(vjepa.context_only(clip, 4).values[:, 4:], (32,))  # 2 x 2 patches a tubelet
    assert_close(made, torch.cat([last, last], dim=1), atol=0, rtol=0)
    with pytest.raises(ValueError, match="encoder with context_only, such as VJEPA2; Blind has none"):
        Standstill(Blind())


def test_skipped_frames_are_not_looked_at():
    levels = [0.1, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9]
    assert float(surprise(Pendulum(), grays(*levels), Windows(4, (2,), skip=2)).maximum) == 0.0
    assert float(surprise(Pendulum(), grays(*levels), Windows(4, (2,), skip=1)).maximum) > 0.1


def test_only_the_context_is_handed_to_the_predictor():
    fake = Pendulum()
    surprise(fake, grays(*[0.1] * 8), Windows(6, (2, 3)))
    assert set(fake.seen) == {2, 3}


def test_a_prediction_does_not_change_with_the_future_and_surprise_does(vjepa):
    frames, other = noise(2, 8, 3, 36, 36), noise(2, 8, 3, 36, 36, seed=1)
    other[:, :4] = frames[:, :4]
    one, two = (Clip(f, torch.full((2,), 8.0), ("", "")) for f in (frames, other))
    assert float((expect(vjepa, one, 4) - expect(vjepa, two, 4)).abs().max()) == 0.0
    windows = Windows(8, (4,))
    assert (
        float((surprise(vjepa, one, windows).values - surprise(vjepa, two, windows).values).abs().min()) > 0
    )


def test_it_is_the_published_formula(vjepa):
    """With the library's own parts: context alone, normalized targets of the whole window, L1."""
    frames = noise(1, 10, 3, 36, 36)
    found = surprise(vjepa, Clip(frames, torch.tensor([8.0]), ("",)), Windows(8, (4,), stride=2))
    for window in range(2):
        pixels = vjepa.processor(
            list(frames[:, 2 * window : 2 * window + 8]), do_rescale=False, return_tensors="pt"
        )["pixel_values_videos"]
        with torch.no_grad():
            seen = vjepa.model.encoder(pixels).last_hidden_state[:, 8:]
            told = vjepa.model.predictor(
                encoder_hidden_states=vjepa.model.encoder(pixels[:, :4]).last_hidden_state,
                context_mask=[torch.arange(8)[None]],
                target_mask=[torch.arange(8, 16)[None]],
            ).last_hidden_state
        expected = (told - F.layer_norm(seen, (32,))).abs().mean()
        assert_close(found.values[0, window, 0].float(), expected, atol=1e-5, rtol=1e-5)


def test_batches_give_what_single_clips_give(vjepa):
    frames = noise(3, 10, 3, 36, 36)
    clip = Clip(frames, torch.full((3,), 8.0), ("",) * 3)
    windows = Windows(8, (2, 4))
    together = surprise(vjepa, clip, windows, batch=4)
    assert together.values.shape == (3, 2, 2)
    assert_close(together.values[1:2], surprise(vjepa, clip[1], windows).values, atol=1e-5, rtol=1e-5)


def fall(seed):
    """A bright square that falls ever faster over a gray background."""
    frames = torch.full((1, 8, 3, 32, 32), 0.3)
    for t in range(8):
        top = 1 + seed % 3 + t * t // 3
        frames[0, t, :, top : top + 6, 4 + seed % 20 : 10 + seed % 20] = 0.6 + 0.01 * seed
    return Clip(frames, torch.tensor([8.0]), ("",))


def test_an_untrained_network_is_near_chance_on_control_pairs(vjepa):
    """Falls against their shuffled frames: within the interval of a coin, as the authors found."""
    falls = stack_clips([fall(seed) for seed in range(24)])
    broken = stack_clips([shuffle(fall(seed), seed, 1.0, 4) for seed in range(24)])
    windows = Windows(8, (4,))
    ours, theirs = (surprise(vjepa, clip, windows).average[:, 0].tolist() for clip in (falls, broken))
    found = pair_accuracy(ours, theirs)
    assert found.low < 0.5 < found.high and found.wins > 0
    assert float(surprise(vjepa, freeze(falls[0]), windows).average) > 0  # standing still is no expectation


def test_bad_input_gets_a_sentence(vjepa):
    clip = grays(*[0.5] * 6)
    with pytest.raises(ValueError, match="needs an encoder that predicts, such as VJEPA2; Blind does not"):
        surprise(Blind(), clip, Windows(4, (2,)))
    with pytest.raises(ValueError, match="A clip must have 8 frames for a window .*; got 6. Use shorter"):
        surprise(vjepa, clip, Windows(8, (4,)))
    with pytest.raises(ValueError, match="at most the encoder's 8 frames; got 16. Use shorter windows"):
        surprise(vjepa, clip, Windows(16, (8,)))
    with pytest.raises(ValueError, match=r"must be multiples of 2 frames, a tubelet; got \[3\]"):
        surprise(vjepa, clip, Windows(6, (3,)))
    with pytest.raises(ValueError, match=r"contexts must lie in 1 .. 7 frames of a window; got \(8,\)"):
        Windows(8, (8,))
    with pytest.raises(ValueError, match="positive frames, stride and skip; got 8, 0 and 1"):
        Windows(8, (4,), stride=0)
    with pytest.raises(ValueError, match="Pairs must have two values each; got 1 and 2"):
        pair_accuracy([1], [1, 2])
    with pytest.raises(ValueError, match="a possible and an impossible clip to compare; got none"):
        pair_accuracy([], [])
    with pytest.raises(ValueError, match="must be finite to be compared"):
        pair_accuracy([float("nan")], [1])
