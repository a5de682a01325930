import math

import pytest
import torch
from torch.testing import assert_close

from worldgen.conditioning import (
    SLOTS,
    Concatenation,
    Conditioner,
    JointAttention,
    MeanPool,
    Resampler,
    place_features,
)
from worldgen.encoders.base import Encoder, Placed, Tokens
from worldgen.encoders.imagebind import ImageBind
from worldgen.types import Clip

ARMS = (Resampler, JointAttention, Concatenation, MeanPool)


class Letters(Encoder):
    """One token per letter: a stand-in that is quick and tells prompts apart."""

    dim = 6

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(128, self.dim)
        self.freeze()

    def encode(self, clip):
        length = max(1, *(len(prompt) for prompt in clip.prompts))
        codes = torch.tensor([[ord(letter) for letter in prompt.ljust(length)] for prompt in clip.prompts])
        lengths = torch.tensor([len(prompt) for prompt in clip.prompts])
        return Tokens(self.table(codes), torch.arange(length) < lengths[:, None])


class Timed(Letters):
    """The same letters, one every second."""

    def positions(self, clip):
        count = self.encode(clip).values.shape[1]
        return torch.tensor([[float(t), 0.5, 0.5] for t in range(count)]).expand(len(clip), -1, -1)


class Senses(Letters):
    """The same letters, each heard or seen."""

    origins = ("audio", "vision")


def clip_of(*prompts):
    return Clip(torch.zeros(len(prompts), 1, 3, 2, 2), torch.ones(len(prompts)), prompts)


@pytest.fixture
def conditioner():
    torch.manual_seed(0)
    return Conditioner(text=Letters(), dim=8, queries=3)


def full(arm, **changes):
    """Text, video with times, and a third sense; zeros that training would have moved are moved."""
    torch.manual_seed(0)
    made = Conditioner(
        text=Letters(), video=Timed(), multimodal=Senses(), dim=16, queries=3, join=arm, **changes
    )
    torch.nn.init.normal_(made.origin, std=0.5)
    torch.nn.init.normal_(made.modality["multimodal"], std=0.5)
    return made.eval()


def masked(placed, rows=slice(None)):
    mask = placed.tokens.mask.clone()
    mask[rows] = False
    return Placed(Tokens(placed.tokens.values, mask), placed.positions)


def same(one, other):
    assert torch.equal(one.mask, other.mask)
    assert_close(one.tokens[one.mask], other.tokens[other.mask])
    assert_close(one.pooled, other.pooled)


KEEP = torch.tensor([True, True])


def test_prompts_make_a_difference_and_padding_does_not(conditioner):
    slots = conditioner.encode(clip_of("ab", "cd"))
    condition = conditioner(slots, KEEP)
    assert condition.tokens.shape == (2, 3, 8) and condition.pooled.shape == (2, 8)
    assert (condition.tokens[0] - condition.tokens[1]).abs().max() > 1e-3
    longer = conditioner(conditioner.encode(clip_of("ab", "cdefgh")), KEEP)
    assert_close(longer.tokens[0], condition.tokens[0], atol=1e-5, rtol=1e-5)


def test_dropped_clips_get_the_null_condition(conditioner):
    condition = conditioner(conditioner.encode(clip_of("ab", "cd")), torch.tensor([True, False]))
    assert_close(condition.tokens[1], conditioner.null)
    assert (condition.tokens[0] - conditioner.null).abs().max() > 1e-3


def test_drop_probabilities_are_kept_each_by_itself():
    generator = torch.Generator().manual_seed(0)
    keep = Conditioner(drop=0.25).draw_keep(10_000, generator)
    assert abs(float(keep.float().mean()) - 0.75) < 0.02
    assert bool(Conditioner(drop=0.0).draw_keep(100, generator).all())
    odds = full(MeanPool, drop=0.2, slot_drop={"video": 0.5, "multimodal": 1.0})
    keep = odds.draw_keep(20_000, generator)
    assert_close(keep.float().mean(dim=0), torch.tensor([0.8, 0.4, 0.0]), atol=0.02, rtol=0)
    both = (keep[:, 0] & keep[:, 1]).float().mean()
    assert abs(float(both) - 0.4) < 0.02  # video is never kept where all is dropped


def test_only_what_training_left_out_can_be_asked_for():
    everything, nothing, words = frozenset({"text", "video", "multimodal"}), frozenset(), frozenset({"text"})
    full(MeanPool, drop=0.0).require_dropped([everything])
    full(MeanPool, drop=0.1).require_dropped([nothing, everything])
    full(MeanPool, drop=0.0, slot_drop=dict.fromkeys(everything, 0.1)).require_dropped([nothing, words])
    full(MeanPool, slot_drop={"video": 0.1, "multimodal": 0.2}).require_dropped([words])
    for drops, known, sentence in (
        ({"drop": 0.0}, nothing, r"text never was \(conditioner.drop is 0, .* train with drop: 0.1"),
        ({"drop": 0.1}, words, "video never was beside text .* train with slot_drop: {video: 0.1}"),
        ({"slot_drop": {"video": 0.1}}, words, "multimodal never was beside text"),
    ):
        with pytest.raises(ValueError, match=sentence):
            full(MeanPool, **drops).require_dropped([known])


def test_without_drops_of_slots_the_draws_are_what_they_were():
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    Conditioner(drop=0.1).draw_keep(5, first)
    torch.rand(5, generator=second)
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))


def test_without_encoders_there_is_only_the_null_condition():
    conditioner = Conditioner(dim=8, queries=3)
    assert conditioner.encode(clip_of("ab", "cd")) == ()
    for keep in (KEEP, torch.zeros(2, 0, dtype=torch.bool)):
        assert_close(conditioner((), keep).tokens, conditioner.null.expand(2, -1, -1))


@pytest.mark.parametrize("arm", ARMS)
def test_slots_are_told_apart(arm):
    torch.manual_seed(0)
    letters = Letters()
    conditioner = Conditioner(text=letters, video=letters, dim=8, queries=3, join=arm)
    conditioner.project[1].load_state_dict(conditioner.project[0].state_dict())
    slots = conditioner.encode(clip_of("ab", "cd"))
    first, second = (
        slots[0],
        Placed(Tokens(slots[0].tokens.values.flip(0), KEEP[:, None].expand(2, 2)), slots[0].positions),
    )
    torch.nn.init.normal_(conditioner.origin)
    straight = conditioner((first, second), KEEP).tokens
    crossed = conditioner((second, first), KEEP).tokens
    assert (straight - crossed).abs().max() > 1e-3


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("place", range(3), ids=SLOTS)
def test_every_slot_is_read_and_a_dropped_one_is_not(arm, place):
    conditioner = full(arm)
    slots = conditioner.encode(clip_of("ab", "cd"))
    other = conditioner.encode(clip_of("ef", "gh"))
    changed = (*slots[:place], other[place], *slots[place + 1 :])
    keep = torch.ones(2, 3, dtype=torch.bool)
    assert (conditioner(changed, keep).tokens - conditioner(slots, keep).tokens).abs().max() > 1e-3
    keep[:, place] = False
    same(conditioner(changed, keep), conditioner(slots, keep))
    without = (*slots[:place], masked(slots[place]), *slots[place + 1 :])
    same(conditioner(without, KEEP), conditioner(slots, keep))


@pytest.mark.parametrize("arm", ARMS)
def test_a_clip_of_which_nothing_is_there_gets_the_null_condition_and_finite_gradients(arm):
    conditioner = full(arm).train()
    slots = conditioner.encode(clip_of("ab", "cd"))
    condition = conditioner(tuple(masked(placed, slice(0, 1)) for placed in slots), KEEP)
    null = conditioner(slots, torch.tensor([False, True]))
    same(condition, null)
    assert_close(condition.tokens[0][condition.mask[0]], conditioner.null)
    assert_close(condition.pooled[0], conditioner.null.mean(dim=0))
    condition.tokens.square().sum().backward()
    found = [parameter.grad for parameter in conditioner.parameters() if parameter.grad is not None]
    assert found and all(bool(torch.isfinite(gradient).all()) for gradient in found)


def test_words_ask_and_the_other_slots_answer():
    conditioner = full(JointAttention)
    slots = conditioner.encode(clip_of("ab", "cd"))
    joint = conditioner(slots, KEEP)
    assert joint.tokens.shape == (2, 2 + 3, 16)  # two letters, three learned queries
    unread = conditioner((slots[0], masked(slots[1]), masked(slots[2])), KEEP)
    assert (joint.tokens - unread.tokens).abs().amax(dim=-1).min() > 1e-3  # every query has read
    shuffled = Placed(Tokens(slots[0].tokens.values.flip(1), slots[0].tokens.mask), slots[0].positions)
    turned = conditioner((shuffled, *slots[1:]), KEEP)
    assert_close(turned.tokens[:, :2], joint.tokens[:, :2].flip(1))  # a word's token is the word's own
    assert_close(turned.tokens[:, 2:], joint.tokens[:, 2:])  # learned queries do not read words
    wordless = conditioner((masked(slots[0]), *slots[1:]), KEEP)
    assert wordless.mask.sum(dim=1).tolist() == [3, 3]
    assert_close(wordless.tokens[:, 2:], joint.tokens[:, 2:])


def test_concatenation_passes_on_each_token_and_pooling_its_mean():
    tokens, means = full(Concatenation), full(MeanPool)
    slots = tokens.encode(clip_of("abc", "d"))
    slots = (
        slots[0],
        slots[1],
        Placed(Tokens(*(part[:, :2] for part in slots[2].tokens)), slots[2].positions),
    )
    found, pooled = tokens(slots, KEEP), means(slots, KEEP)
    assert found.mask.tolist() == [[True] * 8, [True, False, False] * 2 + [True, False]]
    values = (
        torch.nn.functional.layer_norm(tokens.project[0](slots[0].tokens.values), (16,)) + tokens.origin[0]
    )
    assert_close(found.tokens[:, :3], values)
    assert_close(
        pooled.tokens[0], torch.stack([part.mean(dim=0) for part in found.tokens[0].split((3, 3, 2))])
    )
    assert_close(pooled.tokens[1], found.tokens[1, [0, 3, 6]])


def test_times_and_places_are_kept():
    conditioner = full(Concatenation)
    slots = conditioner.encode(clip_of("aa", "bb"))
    found = conditioner(slots, KEEP).tokens
    assert_close(found[:, 0], found[:, 1])  # letters of a text lie nowhere
    assert (found[:, 2] - found[:, 3]).abs().max() > 0.1  # one second apart
    later = slots[1]._replace(positions=slots[1].positions + torch.tensor([1.0, 0, 0]))
    moved = conditioner((slots[0], later, slots[2]), KEEP).tokens
    assert_close(moved[:, 2], found[:, 3])


def test_features_of_places_are_waves():
    features = place_features(torch.tensor([[[5.0, 0.0, 1.0]]]), 20)[0, 0]
    t, y, x, rest = features.split((6, 6, 6, 2))
    wave = torch.tensor([20.0, math.sqrt(20 * 0.1), 0.1])
    assert_close(
        t, torch.cat([(2 * math.pi * 5 / wave).cos(), (2 * math.pi * 5 / wave).sin()]), atol=1e-4, rtol=0
    )
    assert_close(y, torch.tensor([1.0, 1, 1, 0, 0, 0]))
    assert_close(x[[0, 3]], torch.tensor([-1.0, 0.0]), atol=1e-6, rtol=0)  # half a wave over the picture
    assert not rest.any()


def test_tokens_of_imagebind_lie_in_the_middle_of_their_windows(imagebind_folder):
    encoder = ImageBind(imagebind_folder)
    clip = Clip(torch.zeros(1, 24, 3, 32, 32), torch.tensor([8.0]), ("",))  # three seconds
    found = encoder.positions(clip)
    windows = [1.0, 4 / 3, 5 / 3]  # of two seconds, from 0, 1/3 and 2/3
    assert_close(found[0, :, 0], torch.tensor([*windows, 1.5, *windows, 0.0, 1.5, 2.875, 1.5]))
    assert (found[..., 1:] == 0.5).all() and found.shape[1] == len(encoder.origins)


def test_modalities_of_a_slot_are_told_apart_and_may_not_be_pooled():
    conditioner = full(Concatenation)
    slots = conditioner.encode(clip_of("aa", "bb"))
    found = conditioner(slots, KEEP).tokens
    heard, seen = found[0, 4], found[0, 5]
    names = conditioner.modality["multimodal"]
    assert_close(seen - heard, names[1] - names[0])
    pooled = Placed(Tokens(*(part[:, :1] for part in slots[2].tokens)), slots[2].positions)
    with pytest.raises(ValueError, match="tokens of multimodal must be the 2 of its modalities; got 1. Keep"):
        conditioner((*slots[:2], pooled), KEEP)


def test_what_is_wrong_is_said_in_a_sentence():
    with pytest.raises(ValueError, match="slot_drop must name slots, text, video, multimodal; got 'sound'"):
        Conditioner(slot_drop={"sound": 0.1})
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; text is 1.5"):
        Conditioner(slot_drop={"text": 1.5})
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; drop is -0.1"):
        Conditioner(drop=-0.1)


def test_frozen_encoders_stay_frozen_and_the_rest_learns(conditioner):
    conditioner.train()
    assert not conditioner.text.training
    before = conditioner.text.table.weight.clone()
    optimizer = torch.optim.SGD([p for p in conditioner.parameters() if p.requires_grad], lr=0.1)
    conditioner(conditioner.encode(clip_of("ab", "cd")), KEEP).tokens.square().sum().backward()
    optimizer.step()
    assert torch.equal(conditioner.text.table.weight, before)
    assert conditioner.text.table.weight.grad is None
    assert conditioner.project[0].weight.grad.abs().max() > 0
