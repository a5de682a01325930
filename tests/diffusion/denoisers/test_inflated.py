from pathlib import Path

import pytest
import torch

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, inputs
from tests.models import build
from worldgen.diffusion.denoisers.attention import TokenLayout
from worldgen.diffusion.denoisers.inflated import InflatedDiT, TimeLayer
from worldgen.diffusion.dit import DiT
from worldgen.types import Conditioning

SIZE = {"dim": 48, "depth": 2, "heads": 2}


def inflated(image):
    """With the weights of an image model, as `model.start` lays them over."""
    torch.manual_seed(1)
    model = InflatedDiT(CHANNELS, BESIDE, WIDTH, **SIZE)
    unknown = model.load_state_dict(image.state_dict(), strict=False)
    assert not unknown.unexpected_keys
    assert {name.split(".")[0] for name in unknown.missing_keys} == {"times"}
    return model.eval()


def frame_by_frame(image, given):
    """Each frame as an image of its own."""
    x, sigma, context, condition = given
    frames = x.shape[1]
    parts = (condition.tokens, condition.mask, condition.pooled)
    alike = Conditioning(*(part.repeat_interleave(frames, dim=0) for part in parts))
    rows = image(
        x.flatten(0, 1)[:, None], sigma.repeat_interleave(frames), context.flatten(0, 1)[:, None], alike
    )
    return rows[:, 0].unflatten(0, (-1, frames))


def test_before_training_it_is_the_image_model_bit_for_bit():
    image, given = awake(DiT(CHANNELS, BESIDE, WIDTH, **SIZE)), inputs()
    model = inflated(image)
    assert torch.equal(model(*given), frame_by_frame(image, given))
    single = inputs(grid=(1, 4, 6))
    assert torch.equal(model(*single), image(*single))


def test_trained_layers_of_time_carry_news_between_frames():
    given = inputs()
    model, x = awake(inflated(DiT(CHANNELS, BESIDE, WIDTH, **SIZE))), given[0].clone()
    x[:, 2, :, :2, :2] += 1
    assert (model(x, *given[1:]) - model(*given))[:, :2].abs().amax(dim=(0, 2)).min() > 1e-6


def test_a_layer_of_time_tells_a_place_of_itself_in_frames_of_its_clip():
    layer, layout = awake(TimeLayer(48, 2)), TokenLayout(((1, 2, 3),), frames=4)
    x = torch.randn(2 * 4, 6, 48)
    changed = x.clone()
    changed[5, 3] += torch.randn(48)  # the second clip, its second frame
    difference = (layer(changed, layout) - layer(x, layout)).abs().amax(dim=2)
    heard = torch.zeros(8, 6, dtype=torch.bool)
    heard[4:, 3] = True
    assert ((difference > 0) == heard).all()


def test_only_the_layers_of_time_begin_anew_when_a_run_starts_from_an_image_model():
    image = build()
    sizes = {"dim": 24, "depth": 1, "heads": 2, "patch": (1, 1, 1)}
    video = build(denoiser=lambda *given: InflatedDiT(*given, **sizes))
    anew = video.take_shared(image.trained_state())
    assert anew and all(name.startswith("denoiser.times.") for name in anew)
    wider = build(denoiser=lambda *given: InflatedDiT(*given, **{**sizes, "dim": 32}))
    sentence = r"RUN/model.safetensors must hold the model of its config.yaml; \d+ tensors differ"
    with pytest.raises(ValueError, match=sentence):
        wider.load_trained(image.trained_state(), str(Path("RUN/model.safetensors")))


def test_residuals_are_those_of_their_frames():
    model, given = awake(InflatedDiT(CHANNELS, BESIDE, WIDTH, **{**SIZE, "depth": 1})), inputs()
    torch.nn.init.zeros_(model.times[0].attention.out.weight)
    torch.nn.init.zeros_(model.times[0].attention.out.bias)
    residual = torch.zeros(2, 3 * 6, 48)
    residual[:, 6:12] = torch.randn(2, 6, 48)
    difference = (model(*given, (residual,)) - model(*given)).abs().amax(dim=(0, 2, 3, 4))
    assert difference[1] > 1e-3 and difference[0] == difference[2] == 0
    with pytest.raises(ValueError, match="one for each of 1 blocks; got 2"):
        model(*given, (residual, residual))


def test_gradients_reach_the_layers_of_time():
    model = InflatedDiT(CHANNELS, BESIDE, WIDTH, **SIZE)
    torch.nn.init.normal_(model.to_patch.weight)
    for table in (block.table for block in model.blocks):
        torch.nn.init.normal_(table)
    model(*inputs()).square().sum().backward()
    assert all(layer.attention.out.weight.grad.abs().max() > 0 for layer in model.times)


def test_a_patch_over_several_frames_is_refused():
    with pytest.raises(ValueError, match=r"patch must be 1 along time, as of an image; got 2"):
        InflatedDiT(CHANNELS, BESIDE, WIDTH, patch=(2, 2, 2))
