#!/bin/sh
# The two decoders of V-JEPA 2 (inversion.md): a quarter of an hour each on one quiet core.
set -e
worldgen simulate --clips 4096 --seed 0 --out data/decoder
worldgen simulate --clips 200 --seed 2 --out data/test
for name in vjepa_pixels vjepa_predicted; do
    worldgen fit -c configs/base.yaml -c configs/size/nano.yaml -c configs/data/mujoco.yaml -c "configs/$name.yaml" \
        --data.train data/decoder --data.test null
done
worldgen evaluate outputs/vjepa_pixels/version_0 --data data/test --known 0 --out outputs/vjepa_pixels/report
worldgen evaluate outputs/vjepa_predicted/version_0 --data data/test --known 2 --out outputs/vjepa_predicted/report
