import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.testing import assert_close

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, inputs
from worldgen.diffusion.denoisers.unet import UNet

SIZE = {"widths": (16, 32, 32), "head_dim": 8, "norm_groups": 8}


def test_before_training_it_is_an_image_unet_frame_by_frame():
    torch.manual_seed(0)
    image = UNet2DConditionModel(
        in_channels=CHANNELS + BESIDE,
        out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=SIZE["widths"],
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4, 4),  # how many heads, in spite of the name
        use_linear_projection=True,
    )
    image, model = awake(image), UNet(CHANNELS, BESIDE, WIDTH, **SIZE).eval()
    unknown = model.network.load_state_dict(image.state_dict(), strict=False)
    assert not unknown.unexpected_keys
    assert all("temp_" in name or "transformer_in" in name for name in unknown.missing_keys)
    x, sigma, context, condition = inputs(grid=(3, 8, 8))
    rows = torch.cat([x, context], dim=2).flatten(0, 1)
    tokens = torch.cat([condition.tokens, condition.pooled[:, None]], dim=1).repeat_interleave(3, dim=0)
    mask = torch.tensor([True, True, False, True]).expand(6, -1)
    steps = (sigma * 1000).repeat_interleave(3)
    expected = image(rows, steps, tokens, encoder_attention_mask=mask).sample.unflatten(0, (2, 3))
    assert expected.std() > 0.05
    assert_close(model(x, sigma, context, condition), expected, atol=1e-5, rtol=1e-5)


def test_trained_it_carries_news_between_frames():
    model, given = awake(UNet(CHANNELS, BESIDE, WIDTH, **SIZE)), inputs(grid=(4, 8, 8))
    x = given[0].clone()
    x[:, 3] += torch.randn(x[:, 3].shape, generator=torch.Generator().manual_seed(0))
    assert (model(x, *given[1:]) - model(*given))[:, 0].abs().max() > 1e-4


@pytest.mark.parametrize("grid", [(1, 8, 8), (2, 5, 7), (3, 1, 1), (1, 2, 16)])
def test_it_takes_latents_of_any_size(grid):
    given = inputs(grid=grid)
    assert awake(UNet(CHANNELS, BESIDE, WIDTH, **SIZE))(*given).shape == given[0].shape


def test_training_draws_nothing_by_itself():
    model, given = awake(UNet(CHANNELS, BESIDE, WIDTH, **SIZE)).train(), inputs()
    assert torch.equal(model(*given), model(*given))


def test_bad_sizes_and_controls_are_refused():
    with pytest.raises(ValueError, match=r"UNet.head_dim must divide every width; got 24 and \[64, 96\]"):
        UNet(CHANNELS, BESIDE, WIDTH, widths=(64, 96), head_dim=24)
    with pytest.raises(ValueError, match=r"UNet.norm_groups must divide every width; got 16 and \[8\]"):
        UNet(CHANNELS, BESIDE, WIDTH, widths=(8,), head_dim=8)
    with pytest.raises(ValueError, match="UNet takes no residuals. Train it for a DiT"):
        UNet(CHANNELS, BESIDE, WIDTH, **SIZE)(*inputs(), residuals=(torch.zeros(2, 1, 1),))
