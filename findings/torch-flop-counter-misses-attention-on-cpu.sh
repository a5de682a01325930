#!/usr/bin/env bash
# torch 2.11.0
# Source: torch.utils.flop_counter registers _scaled_dot_product_flash_attention and its kin of CUDA; on a CPU
# scaled_dot_product_attention runs _scaled_dot_product_flash_attention_for_cpu, which is not in the registry.
# Guess: FlopCounterMode counts scaled_dot_product_attention, forward and backward, whatever device it runs on.
# Behaviour: on a CPU it counts 0 of it, without a word; the same call through the "math" backend is counted in full
# (4 B H L^2 d forward, three times that with backward). FLOPs and MFU of a transformer counted on a CPU lack all attention.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "numpy"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import contextlib

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

batch, heads, length, width = 1, 2, 64, 16
query = torch.randn(batch, heads, length, width, requires_grad=True)
true = 4 * batch * heads * length**2 * width
found = {}
for name, backend in (("as torch chooses", contextlib.nullcontext()), ("math", sdpa_kernel([SDPBackend.MATH]))):
    with FlopCounterMode(display=False) as counter, backend:
        out = scaled_dot_product_attention(query, query, query)
        forward = counter.get_total_flops()
        out.sum().backward()
    found[name] = (forward, counter.get_total_flops())
    print(f"{name}: {found[name][0]} forward, {found[name][1]} with backward; true {true} and {3 * true}")
raise SystemExit(not (found["as torch chooses"] == (0, 0) and found["math"] == (true, 3 * true)))
PYTHON
