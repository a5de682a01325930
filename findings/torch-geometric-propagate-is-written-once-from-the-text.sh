#!/usr/bin/env bash
# torch-geometric 2.8.1 (torch 2.11.0)
# Source: MessagePassing looks in the source text of its class for calls "self.propagate(...)", writes a propagate() of exactly
# their arguments into a Python file of the temporary folder, and keeps it under the names of module and class.
# Guess: propagate(edge_index, h=h) takes what message() asks for, wherever it is called from; a class that is defined anew, as
# when a notebook's cell is run again, is the new one; and nothing is left on disk.
# Behaviour: called from a function beside the class it is a TypeError, though message(h_j) is there; a method that nobody calls,
# and whose text holds the call, mends it. A second class of the same name and module gets the propagate() of the first, and
# fails on its own arguments. Each class leaves a file in the temporary folder, one for every process.
# Exits 0 while it is so.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "torch==2.11.0" "torch-geometric==2.8.1"
mkdir "$folder/temporary"
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


class Layer(MessagePassing):
    def forward(self, h, edge_index):
        return self.propagate(edge_index, h=h)

    def message(self, h_j):
        return h_j


h, edges, weight = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0, 2], [1, 1]]), torch.tensor([[10.0], [100.0]])
Layer()(h, edges)


class Layer(MessagePassing):  # the cell again, with weights
    def forward(self, h, edge_index, weight):
        return self.propagate(edge_index, h=h, weight=weight)

    def message(self, h_j, weight):
        return h_j * weight


def told(call):
    try:
        return str(call().flatten().tolist())
    except TypeError as error:
        return f"TypeError: {error}"


beside = told(lambda: exchange(Plain(), h, edges))
mended = told(lambda: exchange(Mended(), h, edges))
again = told(lambda: Layer()(h, edges, weight))
print(f"from a function: {beside}\nwith a method that is never called: {mended}\nthe class defined again: {again}")
raise SystemExit(not ("argument 'h'" in beside and mended == "[0.0, 5.0, 0.0]" and "argument 'weight'" in again))
PYTHON
TMPDIR="$folder/temporary" "$folder/venv/bin/python" "$folder/layers.py"
left="$(find "$folder/temporary" -name "*propagate*.py" | wc -l)"
echo "files left in the temporary folder: $left"
[ "$left" -ge 3 ]
# Seen: from a function: TypeError: propagate() got an unexpected keyword argument 'h'
# Seen: with a method that is never called: [0.0, 5.0, 0.0]
# Seen: the class defined again: TypeError: propagate() got an unexpected keyword argument 'weight'
# Seen: files left in the temporary folder: 3
