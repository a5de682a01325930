import pytest
import torch
from torch.testing import assert_close

from worldgen.conditioning import Conditioner
from worldgen.encoders.base import Encoder, Tokens
from worldgen.types import Clip


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


def clip_of(*prompts):
    return Clip(torch.zeros(len(prompts), 1, 3, 2, 2), torch.ones(len(prompts)), prompts)


@pytest.fixture
def conditioner():
    torch.manual_seed(0)
    return Conditioner(text=Letters(), dim=8, queries=3)


KEEP = torch.tensor([True, True])


def test_prompts_make_a_difference_and_padding_does_not(conditioner):
    tokens = conditioner.encode(clip_of("ab", "cd"))
    condition = conditioner(tokens, KEEP)
    assert condition.tokens.shape == (2, 3, 8) and condition.pooled.shape == (2, 8)
    assert (condition.tokens[0] - condition.tokens[1]).abs().max() > 1e-3
    longer = conditioner(conditioner.encode(clip_of("ab", "cdefgh")), KEEP)
    assert_close(longer.tokens[0], condition.tokens[0], atol=1e-5, rtol=1e-5)


def test_dropped_clips_get_the_null_condition(conditioner):
    tokens = conditioner.encode(clip_of("ab", "cd"))
    condition = conditioner(tokens, torch.tensor([True, False]))
    assert_close(condition.tokens[1], conditioner.null)
    assert (condition.tokens[0] - conditioner.null).abs().max() > 1e-3


def test_the_drop_probability_is_kept():
    generator = torch.Generator().manual_seed(0)
    keep = Conditioner(drop=0.25).draw_keep(10_000, generator)
    assert abs(float(keep.float().mean()) - 0.75) < 0.02
    assert bool(Conditioner(drop=0.0).draw_keep(100, generator).all())


def test_without_encoders_there_is_only_the_null_condition():
    conditioner = Conditioner(dim=8, queries=3)
    assert conditioner.encode(clip_of("ab", "cd")) == ()
    assert_close(conditioner((), KEEP).tokens, conditioner.null.expand(2, -1, -1))


def test_slots_are_told_apart():
    torch.manual_seed(0)
    letters = Letters()
    conditioner = Conditioner(text=letters, video=letters, dim=8, queries=3)
    conditioner.project[1].load_state_dict(conditioner.project[0].state_dict())
    first, second = conditioner.encode(clip_of("ab", "cd"))
    swapped = Tokens(second.values.flip(0), second.mask), Tokens(first.values, first.mask)
    torch.nn.init.normal_(conditioner.origin)
    straight = conditioner((swapped[0], swapped[1]), KEEP).tokens
    crossed = conditioner((swapped[1], swapped[0]), KEEP).tokens
    assert (straight - crossed).abs().max() > 1e-3


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
