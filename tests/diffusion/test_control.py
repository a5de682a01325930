import json

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from worldgen.diffusion.control import Control, add_residuals, load_control
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.maps import EdgeMap, MaskMap
from worldgen.types import Clip, Conditioning


def build(maps=None, seed=0, awake=False):
    torch.manual_seed(seed)
    control = Control(maps or MaskMap(2), dim=48, blocks=2, patch=(1, 2, 2), temporal_stride=3, width=8)
    if awake:
        for head in control.heads:
            torch.nn.init.normal_(head.weight, std=0.1)
    return control


def denoiser(seed=0):
    torch.manual_seed(seed)
    model = DiT(4, 5, 16, dim=48, depth=2, heads=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 4, 4, 4, generator=generator)
    context = torch.randn(2, 3, 5, 4, 4, generator=generator)
    tokens = torch.randn(2, 3, 16, generator=generator)
    condition = Conditioning(tokens, torch.ones(2, 3, dtype=torch.bool), tokens.mean(dim=1))
    return x, torch.tensor([0.3, 0.8]), context, condition


def clip(seed=2, frames=7, size=16):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(2, frames, 2, size, size, generator=generator) > 0.7
    return Clip(
        torch.rand(2, frames, 3, size, size, generator=generator),
        torch.full((2,), 25.0),
        ("", ""),
        masks=masks,
    )


def test_an_untrained_control_changes_no_bit():
    model, control = denoiser(), build()
    residuals = control(control.draw(clip(), (4, 4)))
    assert len(residuals) == 2 and residuals[0].shape == (2, 12, 48)
    assert torch.equal(model(*inputs(), residuals), model(*inputs()))


def test_a_residual_reaches_the_output_from_every_block():
    model = denoiser()
    plain = model(*inputs())
    outputs = []
    for place in range(2):
        residuals = [torch.zeros(2, 12, 48) for _ in range(2)]
        residuals[place] += torch.linspace(-1, 1, 48)
        outputs.append(model(*inputs(), tuple(residuals)))
        assert (outputs[-1] - plain).abs().max() > 1e-3
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="Residuals must be one for each of 2 blocks; got 1"):
        model(*inputs(), (torch.zeros(2, 12, 48),))


def test_the_first_step_moves_the_heads_and_the_next_everything():
    model, control = denoiser().requires_grad_(False), build()
    drawn = control.draw(clip(), (4, 4))
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        model(*inputs(), control(drawn)).square().sum().backward()
        moved = {name for name, weight in control.named_parameters() if weight.grad.abs().max() > 0}
        everything = {name for name, _ in control.named_parameters()}
        assert moved == (everything if step else {name for name in everything if name.startswith("heads")})
        optimizer.step()


def test_a_map_is_folded_in_time_as_codecs_do_and_keeps_its_place():
    masks = torch.zeros(1, 7, 1, 16, 16, dtype=torch.bool)
    masks[0, 5, 0, 8:12, 4:8] = True  # frame 5 is the middle one of step 2; cell (2, 1) of 4 x 4, all of it
    one = Clip(torch.zeros(1, 7, 3, 16, 16), torch.tensor([25.0]), ("",), masks=masks)
    control = Control(MaskMap(1), dim=8, blocks=1, patch=(1, 1, 1), temporal_stride=3, width=4, detail=2)
    drawn = control.draw(one, (4, 4))
    assert drawn.shape == (1, 3, 3 * 4, 4, 4)
    expected = torch.zeros_like(drawn)
    expected[0, 2, 4:8, 2, 1] = 1
    assert_close(drawn, expected)
    masks[:] = False
    masks[0, 0] = True  # the first frame stands for the whole first step
    drawn = control.draw(Clip(one.frames, one.fps, one.prompts, masks=masks), (4, 4))
    assert drawn[0, 0].min() == 1 and not drawn[0, 1:].any()


def test_detail_tells_where_in_a_latent_cell_something_lies():
    masks = torch.zeros(1, 1, 1, 16, 16, dtype=torch.bool)
    masks[..., 0:2, 2:4] = True
    one = Clip(torch.zeros(1, 1, 3, 16, 16), torch.tensor([25.0]), ("",), masks=masks)
    for detail, expected in ((1, [0.25]), (2, [0.0, 1.0, 0.0, 0.0])):
        control = Control(
            MaskMap(1), dim=8, blocks=1, patch=(1, 1, 1), temporal_stride=1, width=4, detail=detail
        )
        assert control.draw(one, (4, 4))[0, 0, :, 0, 0].tolist() == expected


def test_several_controls_add_up_each_with_its_scale():
    first, second = (
        control(control.draw(clip(), (4, 4)))
        for control in (build(awake=True), build(EdgeMap(), seed=3, awake=True))
    )
    both = add_residuals([first, second], [1.0, -0.5])
    assert len(both) == 2
    for index in range(2):
        assert_close(both[index], first[index] - 0.5 * second[index])
    assert not any(residual.any() for residual in add_residuals([first], [0.0]))


def test_what_is_saved_is_read_again(tmp_path):
    control = build(MaskMap(2), awake=True)
    control.trained_with = "abc"
    control.half().float().save(tmp_path)
    again = load_control(tmp_path)
    assert again.maps == MaskMap(2) and again.trained_with == "abc"
    drawn = control.draw(clip(), (4, 4))
    for one, other in zip(again(drawn), control(drawn), strict=True):
        assert torch.equal(one, other)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert set(load_file(tmp_path / "model.safetensors")) == set(control.state_dict())


def test_a_map_that_is_none_is_refused(tmp_path):
    build().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "maps": {"class_path": "torch.nn.Linear"}}))
    with pytest.raises(ValueError, match="a whole control; got ValueError: torch.nn.Linear is no ClipMap"):
        load_control(tmp_path)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="A controlling clip must have 1 \\+ 3 n frames; got 6"):
        build().draw(clip(frames=6), (4, 4))
    with pytest.raises(ValueError, match="Control.detail must be positive; got 0"):
        Control(EdgeMap(), dim=8, blocks=1, patch=(1, 1, 1), temporal_stride=1, detail=0)
