#!/usr/bin/env bash
# diffusers 0.39.0
# Source: unet_2d_condition.py sets num_attention_heads to attention_head_dim and makes that many heads; the blocks of
# unet_3d_blocks.py call Transformer2DModel(width // attention_head_dim, attention_head_dim).
# Guess: attention_head_dim says the same in both U-Nets, so that the spatial attention of an image U-Net, put into a video U-Net of the
# same settings whose frames it treats one by one, gives what it gave.
# Behaviour: it is the number of heads in UNet2DConditionModel and their size in UNet3DConditionModel. With 8 and a block of width 32
# the former has 8 heads of 4, the latter 4 heads of 8. All weights fit, nothing is said, and the output is another; where the width is
# the square of the setting (64) it is the same.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "diffusers==0.39.0" "transformers==4.57.6"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import torch
from diffusers import UNet2DConditionModel, UNet3DConditionModel

alike = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (32, 64), "layers_per_block": 1,
    "cross_attention_dim": 16, "attention_head_dim": 8, "norm_num_groups": 8,
}
torch.manual_seed(0)
image = UNet2DConditionModel(
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    use_linear_projection=True, **alike,
).eval()
video = UNet3DConditionModel(
    down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"), **alike
).eval()
found = {}
with torch.no_grad():
    for name, width, size, of_image, of_video in (
        ("first block", 32, 8, image.down_blocks[0].attentions[0], video.down_blocks[0].attentions[0]),
        ("middle", 64, 4, image.mid_block.attentions[0], video.mid_block.attentions[0]),
    ):
        print(name, of_video.load_state_dict(of_image.state_dict()))
        frames, words = torch.randn(2, width, size, size), torch.randn(2, 5, 16)
        heads = [one.transformer_blocks[0].attn1.heads for one in (of_image, of_video)]
        first, second = (one(frames, encoder_hidden_states=words, return_dict=False)[0] for one in (of_image, of_video))
        apart = float((first - second).abs().max())
        print(f"{name}, width {width}: heads {heads}, largest difference {apart:.2g}")
        found[name] = (heads, apart > 1e-3)
raise SystemExit(found != {"first block": ([8, 4], True), "middle": ([8, 8], False)})
PYTHON
