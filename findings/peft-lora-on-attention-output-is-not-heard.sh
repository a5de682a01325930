#!/usr/bin/env bash
# peft 0.21.0 (torch 2.11.0)
# Source: nn.MultiheadAttention.forward hands the weight of its out_proj to a function and never calls the module.
# Guess: a LoRA on target_modules=["out_proj"] changes what the attention says, or peft refuses it as it does other odd targets.
# Behaviour: it is accepted without a warning and counted as trainable; with B far from zero the output is that of the base to
# rounding, and A and B get no gradient. Named beside another target the training runs, and this part of it is dead.
# Encoders with torch's own attention, ImageBind and open CLIP among them, have such an out_proj.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "transformers==4.57.6" "peft==0.21.0"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import torch
from peft import LoraConfig, get_peft_model
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc1 = nn.Linear(8, 8)

    def forward(self, x):
        return self.fc1(x + self.attention(x, x, x, need_weights=False)[0])


torch.manual_seed(0)
x, block = torch.randn(2, 5, 8), Block()
base = block(x).detach()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    model = get_peft_model(block, LoraConfig(r=2, target_modules=["out_proj", "fc1"], init_lora_weights=False))
model.base_model.model.fc1.lora_B["default"].weight.data.zero_()  # what is left is that of out_proj
size = float(model.base_model.model.attention.out_proj.lora_B["default"].weight.detach().abs().max())
out = model(x)
out.square().sum().backward()
grads = {name: weight.grad is not None for name, weight in model.named_parameters() if weight.requires_grad}
heard = {name.split(".lora_")[0].rsplit(".", 1)[-1]: got for name, got in grads.items()}
print(f"warnings {len(said)}; B of out_proj up to {size:.2f}; output differs from the base by "
      f"{float((out.detach() - base).abs().max()):.3g}; gradient reaches {heard}")
raise SystemExit(not (not said and size > 0.1 and torch.allclose(out, base, atol=1e-5) and heard == {"out_proj": False, "fc1": True}))
PYTHON
# Seen: warnings 0; B of out_proj up to 0.69; output differs from the base by 2.38e-07; gradient reaches {'out_proj': False, 'fc1': True}
