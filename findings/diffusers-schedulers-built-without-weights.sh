#!/usr/bin/env bash
# diffusers 0.39.0 with torch 2.11.0
# Source: the constructors of src/diffusers/schedulers; some make their tables with torch, some with NumPy, and some move them to the CPU.
# Guess: schedulers have no weights, so that under torch.device("meta"), where models are built to be counted, each is built as
#   elsewhere and keeps its noise levels.
# Behaviour: it depends on the class. FlowMatchEulerDiscreteScheduler keeps numbers; DDIMScheduler is built, with tables that hold
#   nothing (unnoticed until a step); EulerDiscreteScheduler and DPMSolverMultistepScheduler cannot be built at all, not even
#   where the latter takes the levels of a flow and needs no table of betas.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "diffusers==0.39.0"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
makers = {
    "FlowMatchEulerDiscreteScheduler": FlowMatchEulerDiscreteScheduler,
    "DDIMScheduler": DDIMScheduler,
    "EulerDiscreteScheduler": EulerDiscreteScheduler,
    "DPMSolverMultistepScheduler, levels of a flow": lambda: DPMSolverMultistepScheduler(**FLOW),
}
seen = []
for name, make in makers.items():
    make()  # elsewhere each of them is built
    try:
        with torch.device("meta"):
            scheduler = make()
    except Exception as error:
        seen.append(type(error).__name__)
        print(f"{name}: {type(error).__name__}: {error}")
        continue
    table = scheduler.sigmas if hasattr(scheduler, "sigmas") else scheduler.alphas_cumprod
    seen.append("nothing" if table.is_meta else "numbers")
    print(f"{name}: built, its table holds {seen[-1]}")
raise SystemExit(seen != ["numbers", "nothing", "NotImplementedError", "NotImplementedError"])
PYTHON
# Seen: FlowMatchEulerDiscreteScheduler: built, its table holds numbers
# Seen: DDIMScheduler: built, its table holds nothing
# Seen: EulerDiscreteScheduler: NotImplementedError: Cannot copy out of meta tensor; no data!
# Seen: DPMSolverMultistepScheduler, levels of a flow: NotImplementedError: Cannot copy out of meta tensor; no data!
