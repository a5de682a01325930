#!/usr/bin/env bash
# adapters 1.3.0 beside peft 0.21.0 (transformers 4.57.6)
# Source: adapters' init() exchanges linear layers for its own; peft's wrapper holds the one it wraps as `base_layer`.
# Guess: a model that carries a trained peft LoRA keeps it, or adapters.init() refuses the model.
# Behaviour: no error and no warning; the LoRA's weights leave the model, and its output is again that of the base.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    "torch==2.11.0" "transformers==4.57.6" "peft==0.21.0" "adapters==1.3.0"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import adapters
import torch
from peft import LoraConfig, inject_adapter_in_model
from transformers import T5Config, T5EncoderModel

torch.manual_seed(0)
model = T5EncoderModel(T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)).eval()
tokens = torch.arange(8)[None]
with torch.no_grad():
    base = model(tokens).last_hidden_state.clone()
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["q", "v"], init_lora_weights=False), model)
    tuned = model(tokens).last_hidden_state.clone()
before = sum("lora_" in name for name, _ in model.named_parameters())
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    adapters.init(model)
after = sum("lora_" in name for name, _ in model.named_parameters())
with torch.no_grad():
    now = model(tokens).last_hidden_state
print(f"LoRA tensors before {before}, after {after}; warnings {len(said)}")
print(f"the LoRA changed the output by {float((tuned - base).abs().max()):.3f}; "
      f"after init() the output differs from the base by {float((now - base).abs().max()):.3g}")
raise SystemExit(not (before > 0 and after == 0 and torch.equal(now, base)))
PYTHON
# Seen: LoRA tensors before 4, after 0; warnings 0
