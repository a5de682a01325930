#!/bin/sh
# A generator with all three encoders, and without each (encoders.md): 7 minutes an arm on one core, 2 minutes to judge it.
set -e
worldgen simulate --clips 2432 --seed 0 --out data/small
worldgen simulate --clips 200 --seed 2 --out data/test
all="-c configs/base.yaml -c configs/size/nano.yaml -c configs/data/mujoco.yaml -c configs/perception.yaml -c configs/ablations/state_latent.yaml"
few="--data.train data/small --data.val null --data.test null --trainer.max_steps 1500"
run="--trainer.logger.init_args.save_dir outputs/encoders --trainer.logger.init_args.version run"
worldgen fit $all $few $run --trainer.logger.init_args.name all
worldgen evaluate outputs/encoders/all/run --data data/test --clips 120 --out outputs/encoders/all/report
for name in no_text no_video no_multimodal; do
    worldgen fit $all -c "configs/ablations/$name.yaml" $few $run --trainer.logger.init_args.name $name
    worldgen evaluate outputs/encoders/$name/run --data data/test --clips 120 --out outputs/encoders/$name/report
    worldgen compare outputs/encoders/all/report outputs/encoders/$name/report --out outputs/encoders/compare_$name
done
worldgen sensitivity outputs/encoders/all/run --data data/test --clips 60 --out outputs/encoders/sensitivity
