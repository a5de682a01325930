#!/usr/bin/env bash
# diffusers 0.39.0
# Source: FlowMatchEulerDiscreteScheduler and FlowMatchHeunDiscreteScheduler: the constructor shifts its table and keeps its last entry
# as sigma_min; set_timesteps spreads times down to that sigma_min and shifts them all.
# Guess: with a thousand steps of a table of a thousand, sampling passes the very noise levels of the table that training draws from.
# Behaviour: the first level agrees, the lowest is shifted twice: with shift 3 sampling stops at .0089 where the table ends at .0030, with
# shift 7 at .047 for .0070, and the last step goes from there to 0. Without a shift they agree.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "diffusers==0.39.0" "transformers==4.57.6"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

same, apart = [], []
for kind in (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler):
    for shift in (1.0, 3.0, 7.0):
        table = kind(shift=shift).sigmas
        scheduler = kind(shift=shift)
        scheduler.set_timesteps(1000)
        passed = [float(sigma) for sigma in scheduler.sigmas if sigma > 0]
        print(f"{kind.__name__}, shift {shift:g}: table {table[0]:.4g} .. {table[-1]:.4g}, sampling {passed[0]:.4g} .. {passed[-1]:.4g}")
        first, last = abs(passed[0] / float(table[0]) - 1), passed[-1] / float(table[-1])
        (same if shift == 1 else apart).append((first, last))
ok = all(first < 1e-5 and abs(last - 1) < 1e-5 for first, last in same)
raise SystemExit(not (ok and all(first < 1e-5 and last > 2.5 for first, last in apart)))
PYTHON
