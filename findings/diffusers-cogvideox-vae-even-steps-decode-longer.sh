#!/usr/bin/env bash
# diffusers 0.39.0
# Source: AutoencoderKLCogVideoX._decode: it goes through the latent steps in twos, and only where their number is odd does the first
# chunk have three, of which one is taken for the first frame.
# Guess: L latent steps decode to 1 + 4 (L - 1) frames, whatever L is: those that were encoded come back.
# Behaviour: so it is for odd L only. Even L decodes to 4 L frames: a video of 5 frames is encoded to 2 steps and comes back with 8, one
# of 13 comes back with 16, while those of 9 and 17 come back as long as they were.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "diffusers==0.39.0" "transformers==4.57.6"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import torch
from diffusers import AutoencoderKLCogVideoX

torch.manual_seed(0)
codec = AutoencoderKLCogVideoX(
    down_block_types=("CogVideoXDownBlock3D",) * 3, up_block_types=("CogVideoXUpBlock3D",) * 3, block_out_channels=(8, 8, 8),
    latent_channels=4, layers_per_block=1, norm_num_groups=2, temporal_compression_ratio=4,
).eval()
found = {}
with torch.no_grad():
    for frames in (1, 5, 9, 13, 17):
        z = codec.encode(torch.randn(1, 3, frames, 16, 16)).latent_dist.mean
        found[frames] = (z.shape[2], codec.decode(z).sample.shape[2])
        print(f"{frames} frames: {found[frames][0]} latent steps, {found[frames][1]} decoded")
raise SystemExit(found != {1: (1, 1), 5: (2, 8), 9: (3, 9), 13: (4, 16), 17: (5, 17)})
PYTHON
