#!/usr/bin/env bash
# torch 2.11.0, torch.distributed.checkpoint
# Source: torch/distributed/checkpoint/api.py; raised by `load` and `save` for whatever goes wrong on a rank.
# Guess: CheckpointException is an Exception, so that `except Exception` around `load` turns a checkpoint of other weights into a sentence.
# Behaviour: it derives from BaseException, like KeyboardInterrupt: `except Exception` lets it pass, here of a key that the file lacks.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "numpy"
"$folder/venv/bin/python" -W ignore - "$folder/checkpoint" <<'PYTHON'
import sys

import torch
import torch.distributed.checkpoint as dcp

dcp.save({"weight": torch.ones(4)}, checkpoint_id=sys.argv[1])
caught = "nothing was raised"
try:
    try:
        dcp.load({"bias": torch.ones(4)}, checkpoint_id=sys.argv[1])
    except Exception as error:
        caught = f"`except Exception` caught {type(error).__name__}"
except BaseException as error:
    caught = f"`except Exception` let {type(error).__name__} pass"
print(caught)
raise SystemExit(caught != "`except Exception` let CheckpointException pass")
PYTHON
# Seen: `except Exception` let CheckpointException pass
