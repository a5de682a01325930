#!/usr/bin/env bash
# torchaudio 2.11.0 beside pyloudnorm 0.1.1 (torch 2.11.0)
# Source: ITU-R BS.1770-4, annex 1: a full-scale sine of 997 Hz in one channel reads -3.01 LKFS; torchaudio.functional.loudness cites it.
# Guess: -3.01 within the .1 LU that the standard allows a meter, whatever the rate; pyloudnorm is (-3.05, -3.08).
# Behaviour: -3.28 at 48 and 44.1 kHz, -3.30 at 16 kHz: its high shelf is another one than the standard's table, so all that it
# says is about .27 LU too low at this pitch. A recording that is brought to a loudness with it is as much too loud.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    "torch==2.11.0" "torchaudio==2.11.0" "pyloudnorm==0.1.1" "numpy" "scipy"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math

import pyloudnorm
import torch
from torchaudio.functional import loudness

off = []
for rate in (48000, 44100, 16000):
    tone = torch.sin(2 * math.pi * 997 * torch.arange(10 * rate, dtype=torch.float64) / rate)
    one, other = float(loudness(tone[None], rate)), pyloudnorm.Meter(rate).integrated_loudness(tone.numpy())
    off.append((one + 3.01, other + 3.01))
    print(f"{rate} Hz: torchaudio {one:.2f}, pyloudnorm {other:.2f} LKFS")
raise SystemExit(not all(-0.4 < one < -0.2 and abs(other) < 0.1 for one, other in off[:2]))
PYTHON
# Seen: 48000 Hz: torchaudio -3.28, pyloudnorm -3.05 LKFS; 44100 Hz: -3.28, -3.05; 16000 Hz: -3.30, -3.08
