#!/usr/bin/env bash
# torch-geometric 2.8.1 (torch 2.11.0)
# Source: MessagePassing looks in the source text of its class for calls "self.propagate(...)" and makes a propagate() of
# exactly their arguments.
# Guess: propagate(edge_index, h=h) takes what message() asks for, wherever it is called from, as any method does.
# Behaviour: called from a function beside the class it is a TypeError ("unexpected keyword argument 'h'"), though message(h_j)
# is there; a method that nobody calls, and whose text holds the call, mends it.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "torch-geometric==2.8.1"
cat >"$folder/layers.py" <<'PYTHON'
import torch
from torch_geometric.nn import MessagePassing


class Plain(MessagePassing):
    def message(self, h_j):
        return h_j


class Mended(MessagePassing):
    def message(self, h_j):
        return h_j

    def never_called(self, h, edge_index):
        return self.propagate(edge_index, h=h)


def exchange(layer, h, edge_index):
    return layer.propagate(edge_index, h=h)


h, edges = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0, 2], [1, 1]])
try:
    said = f"works: {exchange(Plain(), h, edges).flatten().tolist()}"
except TypeError as error:
    said = f"TypeError: {error}"
mended = exchange(Mended(), h, edges).flatten().tolist()
print(f"from a function: {said}")
print(f"with a method that is never called: {mended}")
raise SystemExit(not ("unexpected keyword argument 'h'" in said and mended == [0.0, 5.0, 0.0]))
PYTHON
"$folder/venv/bin/python" "$folder/layers.py"
# Seen: from a function: TypeError: propagate() got an unexpected keyword argument 'h'
# Seen: with a method that is never called: [0.0, 5.0, 0.0]
