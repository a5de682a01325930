#!/usr/bin/env bash
# diffusers 0.39.0
# Source: set_timesteps of EulerDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler, DDIMScheduler and others: times are
# np.linspace(0, 999, steps) turned around ("linspace"), or multiples of 1000 // steps that begin at 0 ("leading").
# Guess: with set_timesteps(1) the one step begins where the noise is largest, as the first of two does, whatever the scheduler.
# Behaviour: it begins at time 0, where there is next to no noise: init_noise_sigma of Euler's is 0.01 where two steps have 157, and
# DDIM's one step goes from pure noise as if nearly all of it were gone. DPMSolverMultistepScheduler and UniPCMultistepScheduler begin
# at 999, in their default settings too.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "diffusers==0.39.0" "transformers==4.57.6" scipy
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    UniPCMultistepScheduler,
)

found = {}
for kind in (
    EulerDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler, DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
):
    for steps in (1, 2):
        scheduler = kind()
        scheduler.set_timesteps(steps)
        found[kind.__name__, steps] = round(float(scheduler.timesteps[0]))
        noise = float(scheduler.init_noise_sigma)
        print(f"{kind.__name__}, {steps} steps: from time {found[kind.__name__, steps]}, first noise {noise:.2f}")
low = ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler", "DDIMScheduler")
ok = all(found[name, 1] == 0 and found[name, 2] >= 500 for name in low)
ok = ok and all(found[name, steps] == 999 for name in ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler") for steps in (1, 2))
raise SystemExit(not ok)
PYTHON
