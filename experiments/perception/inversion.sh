#!/bin/sh
# The two decoders of V-JEPA 2, and the second without its tokens (inversion.md): about 9 minutes each on one core.
set -e
worldgen simulate --clips 2432 --seed 0 --out data/small
worldgen simulate --clips 200 --seed 2 --out data/test
nano="-c configs/base.yaml -c configs/size/nano.yaml -c configs/data/mujoco.yaml"
few="--data.train data/small --data.test null --trainer.max_steps 1500 --trainer.val_check_interval 1500"
worldgen fit $nano -c configs/vjepa_pixels.yaml $few
worldgen fit $nano -c configs/vjepa_predicted.yaml $few
worldgen fit $nano -c configs/vjepa_predicted.yaml $few --model.conditioner.video null --trainer.logger.init_args.name vjepa_predicted_none
worldgen evaluate outputs/vjepa_pixels/version_0 --data data/test --context-frames 0 --out outputs/vjepa_pixels/report
worldgen evaluate outputs/vjepa_predicted/version_0 --data data/test --context-frames 2 --out outputs/vjepa_predicted/report
worldgen evaluate outputs/vjepa_predicted_none/version_0 --data data/test --context-frames 2 --out outputs/vjepa_predicted_none/report
worldgen compare outputs/vjepa_predicted_none/report outputs/vjepa_predicted/report --out outputs/vjepa_predicted/compare
