#!/usr/bin/env bash
# Makes nano weights from nothing, in about an hour and a half on 2 cores. Run from the root of the project.
set -euo pipefail
worldgen="${WORLDGEN:-.venv/bin/worldgen}"
families="drop bounce collide"
$worldgen simulate --families $families --clips 9216 --seed 0 --out data/train
$worldgen simulate --families $families --clips 192 --seed 1 --out data/val
$worldgen simulate --families $families --clips 200 --seed 2 --out data/test
$worldgen pretrain codec -c configs/tasks/codec.yaml
$worldgen pretrain t5 -c configs/tasks/t5.yaml
mkdir -p assets/nano
cp -r outputs/codec/version_0/codec outputs/t5/version_0/t5 assets/nano/
$worldgen fit -c configs/base.yaml -c configs/size/nano.yaml -c configs/data/mujoco.yaml --data.val data/val
$worldgen evaluate outputs/generator/version_0 --data data/test --out outputs/first-chain
