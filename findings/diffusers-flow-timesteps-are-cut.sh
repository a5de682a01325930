#!/usr/bin/env bash
# diffusers 0.39.0
# Source: DPMSolverMultistepScheduler and UniPCMultistepScheduler, set_timesteps: `timesteps` are turned to int64.
# Guess: with use_flow_sigmas a scheduler's timesteps are 1000 times its sigmas, as FlowMatchEulerDiscreteScheduler has it, so that
# a network may be told timestep / 1000 as its noise level.
# Behaviour: the timesteps are cut to whole numbers, the sigmas are not; where a shift puts many steps close together the
# network is told a level that is off by several percent of itself, and two steps in a row can be told the same one.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "diffusers==0.39.0" "scipy" "transformers==4.57.6"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
found = {}
for name, scheduler in (
    ("Euler", FlowMatchEulerDiscreteScheduler(shift=3.0)),
    ("DPM-Solver", DPMSolverMultistepScheduler(**flow)),
    ("UniPC", UniPCMultistepScheduler(**flow)),
):
    for steps in (8, 50, 200):
        scheduler.set_timesteps(steps)
        sigmas, told = scheduler.sigmas[: len(scheduler.timesteps)].double(), scheduler.timesteps.double() / 1000
        off = float(((told - sigmas).abs() / sigmas).max())
        found[name, steps] = off
        print(f"{name}, {steps} steps: {scheduler.timesteps.dtype}, off by {100 * off:.3g} % of sigma at most")
ok = all(found["Euler", steps] < 1e-5 for steps in (8, 50, 200))
raise SystemExit(not (ok and found["UniPC", 200] > 0.01 and found["DPM-Solver", 200] > 0.01))
PYTHON
