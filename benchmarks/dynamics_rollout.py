"""Batched roll-outs of the graph network against MuJoCo stepping the same scenes, on one thread.

Run: OMP_NUM_THREADS=1 python benchmarks/dynamics_rollout.py [--batches 1 16 256 --steps 14 --rounds 5]
Both run in one process, in turn; medians over the rounds. Weights do not matter for the time; MuJoCo's scenes
are compiled before.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from worldgen.physics.dynamics import GraphDynamics
from worldgen.simulation.ball_states import play_balls, stack_balls
from worldgen.simulation.engine import mujoco
from worldgen.simulation.rollout import fit_timestep
from worldgen.simulation.scenes.families import NANO, draw_scene
from worldgen.tasks.parts.dynamics import frames_of, scenery_of


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    network = GraphDynamics().eval()
    print("scenes  network ms/scene  MuJoCo ms/scene  MuJoCo / network")
    for size in given.batches:
        keys = [(NANO[index % len(NANO)], index // len(NANO)) for index in range(size)]
        states = stack_balls([play_balls(*key, split="id", frames=2) for key in keys])
        start, scenery = frames_of(states.trajectory, 1, 2), scenery_of(states)
        worlds = []
        for key in keys:
            scene = draw_scene(*key, split="id")
            model = scene.spec.compile()
            steps, data = fit_timestep(model, 25.0), mujoco.MjData(model)
            data.qvel[:] = scene.velocity
            worlds.append((model, data, steps, np.array(data.qpos), np.array(data.qvel)))

        def roll(start=start, scenery=scenery) -> None:
            with torch.no_grad():
                network.rollout(start, scenery, given.steps)

        def simulate(worlds=worlds) -> None:
            for model, data, steps, qpos, qvel in worlds:
                data.qpos[:], data.qvel[:] = qpos, qvel
                for _ in range(given.steps):
                    mujoco.mj_step(model, data, steps)

        roll()
        times = [(seconds(roll), seconds(simulate)) for _ in range(given.rounds)]
        ours, theirs = (statistics.median(column) * 1e3 / size for column in zip(*times, strict=True))
        ratio = statistics.median(second / first for first, second in times)
        print(f"{size:6d}  {ours:16.3f}  {theirs:15.3f}  {ratio:16.2f}", flush=True)


if __name__ == "__main__":
    main()
