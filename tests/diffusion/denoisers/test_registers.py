import pytest
import torch
from torch.testing import assert_close

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, inputs
from worldgen.diffusion.denoisers.attention import FactorizedAttention, WindowAttention
from worldgen.diffusion.denoisers.base import block_tokens
from worldgen.diffusion.denoisers.registers import RegisterDiT
from worldgen.diffusion.dit import DiT

SIZE = {"dim": 48, "depth": 2, "heads": 2}


def make(kind=RegisterDiT, **changes):
    torch.manual_seed(0)
    return awake(kind(CHANNELS, BESIDE, WIDTH, **SIZE, **changes))


def said(model, given, frames):
    with block_tokens(model) as tokens:
        model(*given)
    return model.states_of(tokens[-1], frames)


@pytest.mark.parametrize("frames, clip", [(1, 3), (3, 7)], ids=["a frame a step", "three frames a step"])
def test_registers_say_states_of_every_frame_and_listen_to_the_latent(frames, clip):
    model, given = make(objects=4, frames=frames), inputs()
    states = said(model, given, clip)
    assert states.position.shape == states.velocity.shape == (2, clip, 4, 3)
    assert states.presence.shape == (2, clip, 4)
    x = given[0].clone()
    x[:, -1] += 1
    for one, other in zip(states, said(model, (x, *given[1:]), clip), strict=True):
        assert (one - other).abs().max() > 1e-4  # the last step reaches all
        assert other.std(dim=2).min() > 0  # each object says its own


def test_each_step_speaks_of_its_own_frames():
    """Of three frames a token, the first step is the first frame alone."""
    model, given = make(frames=3), inputs()
    with block_tokens(model) as tokens:
        model(*given)
    right = model.states_of(tokens[-1], 7).position
    for step, expected in ((0, [0]), (1, [1, 2, 3]), (2, [4, 5, 6])):
        moved = tokens[-1].clone()
        for register in (-6 + step, -3 + step):
            moved[:, register] += torch.randn(48, generator=torch.Generator().manual_seed(0))
        change = (model.states_of(moved, 7).position - right).abs().amax(dim=(0, 2, 3))
        assert (change > 1e-4).nonzero().flatten().tolist() == expected


@pytest.mark.parametrize("attention", [None, FactorizedAttention()])
def test_the_latent_listens_to_registers(attention):
    model, given = make(attention=attention), inputs()
    before = model(*given)
    with torch.no_grad():
        model.registers.add_(torch.randn(model.registers.shape, generator=torch.Generator().manual_seed(3)))
    assert (model(*given) - before).abs().max() > 1e-4


def test_without_registers_heard_it_is_a_dit_to_the_bit_of_rounding():
    """Registers whose keys nobody hears: what is left is the DiT of the same weights."""
    model, given = make(), inputs()
    plain = DiT(CHANNELS, BESIDE, WIDTH, **SIZE).eval()
    shared = {name: value for name, value in model.state_dict().items() if name in plain.state_dict()}
    assert set(model.state_dict()) - set(shared) == {
        "registers",
        *(f"to_states.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")),
    }
    plain.load_state_dict(shared)
    model._groups = lambda layout, layer: split_groups(layout)
    assert_close(model(*given), plain(*given), atol=1e-5, rtol=1e-5)


def split_groups(layout):
    from worldgen.diffusion.denoisers.attention import Groups

    length, spare = sum(layout.lengths), 2 * layout.grids[0][0]
    return Groups(None, None, ((1, length), (1, spare)))


def test_factorized_registers_see_their_frame_and_then_themselves_through_time():
    from worldgen.diffusion.denoisers.registers import _groups_with_registers

    space = _groups_with_registers((3, 2, 2), (1, 2, 2), 2)
    assert space.runs == ((3, 6),)
    assert space.order[:6].tolist() == [0, 1, 2, 3, 12, 15] and space.order[6:12].tolist()[-2:] == [13, 16]
    time = _groups_with_registers((3, 2, 2), (3, 1, 1), 2)
    assert time.runs == ((6, 3),)
    assert time.order[-6:].tolist() == [12, 13, 14, 15, 16, 17]


def test_a_control_speaks_to_the_latents_tokens_alone():
    model, given = make(), inputs()
    tokens = 3 * 2 * 3
    residuals = tuple(
        torch.randn(2, tokens, 48, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert (model(*given, residuals) - model(*given)).abs().max() > 1e-3
    assert_close(model(*given, tuple(0 * one for one in residuals)), model(*given))


def test_windows_of_a_part_of_a_frame_and_no_registers_are_refused():
    model = make(attention=WindowAttention((2, 2), (2, 2, 2)))
    with pytest.raises(ValueError, match="of 2 x 3 tokens here; the attention's windows are of 2 x 2"):
        model(*inputs())
    with pytest.raises(ValueError, match="at least 1 object and 1 frame of a token; got 0 and 1"):
        make(objects=0)
