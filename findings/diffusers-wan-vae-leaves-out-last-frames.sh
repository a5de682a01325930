#!/usr/bin/env bash
# diffusers 0.39.0
# Source: AutoencoderKLWan._encode: it goes through 1 + (frames - 1) // 4 chunks of 1, 4, 4, ... frames, and what is left over is not
# looked at.
# Guess: a video whose length is not 1 + 4 n is padded, or refused with the lengths that fit.
# Behaviour: its last frames are left out, without a word: 8 frames give the latent of the first 5, and black in place of the last
# frame changes no bit of it. Decoding gives 5 frames back; who compares them with the video compares different lengths.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "diffusers==0.39.0" "transformers==4.57.6"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import torch
from diffusers import AutoencoderKLWan

torch.manual_seed(0)
codec = AutoencoderKLWan(
    base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
).eval()
found = {}
with torch.no_grad():
    for frames in (5, 6, 8, 9):
        video = torch.randn(1, 3, frames, 16, 16)
        other = video.clone()
        other[:, :, -1] = 0
        z, changed = (codec.encode(one).latent_dist.mean for one in (video, other))
        found[frames] = (z.shape[2], codec.decode(z).sample.shape[2], not torch.equal(z, changed))
        print(f"{frames} frames: {found[frames][0]} latent steps, {found[frames][1]} decoded; last frame matters: {found[frames][2]}")
ok = found[5] == (2, 5, True) and found[9] == (3, 9, True)
raise SystemExit(not (ok and found[6] == found[8] == (2, 5, False)))
PYTHON
