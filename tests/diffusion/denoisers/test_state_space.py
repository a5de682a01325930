import pytest
import torch
from torch.testing import assert_close
from transformers import Mamba2Config, Mamba2Model

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, inputs
from worldgen.diffusion.denoisers.attention import TokenLayout
from worldgen.diffusion.denoisers.state_space import StateSpaceDenoiser, StateSpaceMixer, scan_chunks


def alone(length):
    return TokenLayout(((1, 1, length),)).scans(0)


@pytest.mark.parametrize("length", [1, 7, 16, 33])
def test_the_mixer_equals_that_of_transformers(length):
    """Weights go over by name; 33 tokens are chunks and a rest."""
    torch.manual_seed(0)
    config = Mamba2Config(
        num_heads=6,
        head_dim=8,
        hidden_size=24,
        state_size=5,
        num_hidden_layers=1,
        n_groups=1,
        chunk_size=8,
        vocab_size=8,
    )
    theirs = awake(Mamba2Model(config), std=0.3).layers[0].mixer
    ours = StateSpaceMixer(24, state=5, head_dim=8, chunk=4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, length, 24)
    expected = theirs(x)
    assert expected.std() > 0.05
    assert_close(ours(x, alone(length)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_chunks_equal_the_recurrence_token_by_token(chunk):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x, decay, write, read = draw(2, 11, 3, 4), -draw(2, 11, 3).abs(), draw(2, 11, 5), draw(2, 11, 5)
    state, expected = torch.zeros(2, 3, 5, 4, dtype=torch.float64), []
    for t in range(11):
        state = state * decay[:, t, :, None, None].exp() + write[:, t, None, :, None] * x[:, t, :, None, :]
        expected.append((read[:, t, None, :, None] * state).sum(dim=2))
    assert_close(scan_chunks(x, decay, write, read, chunk), torch.stack(expected, dim=1))


def test_strong_forgetting_gives_no_nan_in_the_gradient():
    x, decay = torch.randn(1, 8, 1, 2, requires_grad=True), torch.full((1, 8, 1), -60.0, requires_grad=True)
    scan_chunks(x, decay, torch.ones(1, 8, 3), torch.ones(1, 8, 3), 8).sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(decay.grad).all()
    assert_close(x.grad, torch.full_like(x, 3.0))


def test_a_token_hears_of_those_before_it_and_of_none_after():
    mixer, x = awake(StateSpaceMixer(24, state=5, head_dim=8, chunk=4), std=0.3), torch.randn(1, 9, 24)
    changed = x.clone()
    changed[:, 5] += 1
    difference = (mixer(changed, alone(9)) - mixer(x, alone(9))).abs().amax(dim=(0, 2))
    assert difference[:5].max() == 0 and difference[5:].min() > 1e-5


def test_two_layers_tell_each_token_of_all_others():
    x, *rest = inputs(grid=(3, 4, 4))
    for depth, everywhere in ((1, False), (2, True)):
        model = awake(StateSpaceDenoiser(CHANNELS, BESIDE, WIDTH, dim=64, depth=depth, heads=2), std=0.2)
        changed = x.clone()
        changed[:, 1, :, :2, :2] += 1
        difference = (model(changed, *rest) - model(x, *rest)).abs().amax(dim=(0, 2))
        assert (difference.min() > 0) == everywhere


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="head_dim must divide 2 dim = 96; got 64"):
        StateSpaceDenoiser(CHANNELS, BESIDE, WIDTH, dim=48, heads=2)
