import pytest
import torch
from torch.testing import assert_close

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, changed, inputs, packed
from worldgen.diffusion.denoisers.foretold import ForetoldDiT

SIZE = {"dim": 48, "depth": 2, "heads": 2}


def make(**changes):
    torch.manual_seed(0)
    return awake(ForetoldDiT(CHANNELS, BESIDE, WIDTH, **SIZE, **{"foretold": 2, **changes}))


def moved(given, channel, step=1, evenly=True):
    """The context with a channel of a step moved in all cells alike, or in two against each other."""
    x, sigma, context, condition = given
    context = context.clone()
    if evenly:
        context[:, step, channel] += 1
    else:
        context[:, step, channel, 0, 0] += 1
        context[:, step, channel, 1, 1] -= 1
    return x, sigma, context, condition


def test_what_is_foretold_is_heard_as_a_whole_and_the_rest_where_it_lies():
    model, given = make(), inputs()
    right = model(*given)
    for channel in (3, 4):
        assert (model(*moved(given, channel)) - right).abs().max() > 1e-3
        assert_close(model(*moved(given, channel, evenly=False)), right, atol=1e-5, rtol=1e-4)
    assert (model(*moved(given, 2, evenly=False)) - right).abs().max() > 1e-3
    both = make(beside=True)
    assert (both(*moved(given, 4, evenly=False)) - both(*given)).abs().max() > 1e-3


def test_each_token_knows_of_which_step_it_is():
    """What is told of two steps the other way round is another story."""
    model, (x, sigma, context, condition) = make(), inputs()
    context = context.clone()
    context[:, 0, 3:], context[:, 1, 3:] = 5.0, -5.0
    swapped = context.clone()
    swapped[:, [0, 1], 3:] = context[:, [1, 0], 3:]
    right = model(x, sigma, context, condition)
    assert (model(x, sigma, swapped, condition) - right).abs().max() > 2e-5 * right.abs().max()


@pytest.mark.parametrize("part", ["x", "sigma", "context", "tokens", "pooled"])
def test_it_hears_everything_else_that_a_dit_hears(part):
    model, given = make(), inputs()
    assert (model(*changed(given, part)) - model(*given)).abs().max() > 1e-3
    assert_close(model(*changed(given, "masked")), model(*given))


def test_clips_of_several_shapes_are_as_alone():
    model = make()
    clips, given = packed((3, 4, 6), (2, 6, 4))
    for one, together in zip(clips, model.forward_packed(*given), strict=True):
        assert_close(together, model(*one)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("foretold", [0, 6])
def test_more_than_the_context_has_cannot_be_foretold(foretold):
    with pytest.raises(ValueError, match=f"must be channels of the context, 1 to 5; got {foretold}. Give a"):
        make(foretold=foretold)
