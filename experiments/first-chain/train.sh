#!/usr/bin/env bash
# Makes nano weights from nothing, in about an hour and a half on 2 cores. Run from the root of the project.
# The shipped ones took a detour on the way to this design, see README.md.
set -euo pipefail
worldgen="${WORLDGEN:-.venv/bin/worldgen}"
families="drop bounce collide"
$worldgen simulate --families $families --clips 9216 --seed 0 --out outputs/data/train
$worldgen simulate --families $families --clips 192 --seed 1 --out outputs/data/val
$worldgen simulate --families $families --clips 200 --seed 2 --out outputs/data/test
$worldgen pretrain codec -c configs/tasks/codec.yaml
$worldgen pretrain t5 -c configs/tasks/t5.yaml
mkdir -p assets/nano
cp -r outputs/codec/version_0/codec outputs/t5/version_0/t5 assets/nano/
$worldgen fit -c configs/base.yaml -c configs/size/nano.yaml -c configs/data/mujoco.yaml
$worldgen evaluate outputs/generator/version_0 --data outputs/data/test --out outputs/first-chain
