#!/usr/bin/env bash
# torch 2.11.0, torch.utils.flop_counter.FlopCounterMode
# Source: the counter wraps the inputs of every module in an autograd function, to know the module in the backward pass.
# Guess: counting a module under `torch.inference_mode()` gives the FLOPs that it gives under `torch.no_grad()`.
# Behaviour: where an input asks for a gradient (a learned query, say), it raises "'NoneType' object has no attribute
# 'next_functions'" in inference mode; under `no_grad` and with gradients it counts 64.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "numpy"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from torch.utils.flop_counter import FlopCounterMode

layer, asked = torch.nn.Linear(4, 4), torch.nn.Parameter(torch.randn(2, 4))
found = {}
for name, mode in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
    try:
        with mode(), FlopCounterMode(display=False) as counter:
            layer(asked)
        found[name] = str(counter.get_total_flops())
    except AttributeError as error:
        found[name] = str(error)
    print(f"{name}: {found[name]}")
raise SystemExit(not (found["no_grad"] == "64" and "next_functions" in found["inference_mode"]))
PYTHON
# Seen: no_grad: 64; inference_mode: 'NoneType' object has no attribute 'next_functions'
