"""Clips that begin so that the first blow is heard and its bounce is not yet seen, for the ablation of sound.

Run: ``python experiments/audio/first_blow.py --out data/sound`` (a minute of one core).

A ball is dropped or thrown, and a clip of it begins at most two frames before it strikes the floor: its first
two frames show it fall, the blow is in the first half of the interval after the second of them, and the sound
of the known frames ends with that interval. Speed and radius are seen; the material, which sets the bounce
and nothing else, is named in the caption, and told by the sound. Three folders: ``train``, ``test`` (seeds
that are held out), and ``train_other``, the same clips as ``train`` with the sound of another of them.

What there is to be learned stands beside: a linear fit of the material, of what frames show with and without
the nano ImageBind's token of the sound that is known, each clip predicted by the others.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from material import predict

from worldgen.audio.impact import find_impacts, impact_sound
from worldgen.data.shards.shards import ShardWriter
from worldgen.data.waves import RATE
from worldgen.diffusion.context import hold
from worldgen.encoders.imagebind import ImageBind
from worldgen.metrics.intervals import mean_interval
from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.types import Clip, Trajectory

FRAMES, FPS, KNOWN = 16, 25.0, 2
_WATCHED = 32
"""Frames that are simulated, of which a clip is cut out."""
_HELD_OUT = 500_000_000
"""First seed of the scenes that nothing is trained on."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("data/sound"))
    parser.add_argument("--train", type=int, default=512)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--table", type=Path, default=Path("experiments/audio/first_blow.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    train, test = (
        [one for one, _ in zip(find_clips(first), range(count), strict=False)]
        for first, count in ((0, options.train), (_HELD_OUT, options.test))
    )
    others = np.random.default_rng(0).permutation(len(train))
    swapped = [
        (family, seed, replace(clip, sound=train[other][2].sound))
        for (family, seed, clip), other in zip(train, others, strict=True)
    ]
    for name, clips in (("train", train), ("test", test), ("train_other", swapped)):
        with ShardWriter(options.out / name, 0) as shard:
            for family, seed, clip in clips:
                shard.add(clip, f"{family}-{seed:09d}", family, seed)
    with open(options.table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["given", "measure", "value", "low", "high", "note"])
        for row in probe([clip for *_, clip in train], [clip for *_, clip in swapped]):
            writer.writerow(row)
            print(*row)


def find_clips(seed: int) -> Iterator[tuple[str, int, Clip]]:
    """Family, seed and clip of one scene after the other in which it can be done."""
    while True:
        family = ("drop", "bounce")[seed % 2]
        first = first_frame(simulate_trajectory(family, seed, _WATCHED, FPS))
        if first is not None:
            clip = simulate_clip(family, seed, frames=_WATCHED, fps=FPS)
            if "wood" in clip.prompts[0] or "rubber" in clip.prompts[0]:
                yield family, seed, cut(clip, first)
        seed += 1


def first_frame(truth: Trajectory) -> int | None:
    """The frame two before the first blow; None where there is more than a ball, or the blow lies late."""
    impacts = find_impacts(truth, 0) if truth.mass.shape[1] == 1 else []
    if not impacts:
        return None
    place = impacts[0].time * FPS
    first = int(place) - (KNOWN - 1)
    return first if first >= 0 and place % 1 < 0.5 and first + FRAMES <= _WATCHED else None


def cut(clip: Clip, first: int) -> Clip:
    """`FRAMES` frames of a clip (B = 1) from one of them on, with the sound of what strikes in them."""
    frames = slice(first, first + FRAMES)
    truth, begin = clip.truth, first / FPS
    assert truth is not None and truth.contacts is not None
    assert clip.depth is not None and clip.masks is not None
    heard = impact_sound(truth, _WATCHED / FPS)[:, round(begin * RATE) :][:, : round(FRAMES / FPS * RATE)]
    episode = truth.contacts[0]
    inside = (episode.time >= begin) & (episode.time < begin + FRAMES / FPS)
    names = ("bodies", "point", "normal", "impulse")
    kept = {name: getattr(episode, name)[inside] for name in names}
    contacts = (replace(episode, time=episode.time[inside] - begin, **kept),)
    names = ("position", "rotation", "velocity", "spin", "present")
    states = {name: getattr(truth, name)[:, frames] for name in names}
    return replace(
        clip,
        frames=clip.frames[:, frames],
        depth=clip.depth[:, frames],
        masks=clip.masks[:, frames],
        truth=replace(truth, contacts=contacts, **states),
        sound=heard,
        descriptions=None,
    )


def probe(clips: list[Clip], swapped: list[Clip]) -> Iterator[list[str]]:
    """Rows of how often the material is told by what is known, and how far the speed after the blow is."""
    encoder = ImageBind("assets/nano/imagebind", modalities=("audio",))
    seen, wood, after = [], [], []
    for clip in clips:
        assert clip.truth is not None
        radius, height = clip.truth.extent[0, 0, 0], clip.truth.position[0, KNOWN - 1, 0, 2]
        speed = clip.truth.velocity[0, :, 0, 2]
        seen.append([float(radius), float(height), float(speed[KNOWN - 1])])
        wood.append(float("wood" in clip.prompts[0]))
        after.append(float(speed[KNOWN]))
    frames, wood, after = map(np.array, (seen, wood, after))
    tokens, other = (np.concatenate([listen(encoder, clip) for clip in group]) for group in (clips, swapped))
    arms = {
        "frames, silent": frames,
        "frames and the token of the sound": np.hstack([frames, tokens]),
        "frames and the token of another clip's": np.hstack([frames, other]),
        "frames and the material": np.hstack([frames, wood[:, None], wood[:, None] * frames]),
    }
    for arm, given in arms.items():
        right = (predict(given, wood) > 0.5) == (wood > 0.5)
        away = np.abs(predict(given, after) - after)
        for name, values, most in (
            ("material right", right.astype(float), 1.0),
            ("error of the speed after, m/s", away, np.inf),
        ):
            low, high = mean_interval(values, limits=(0.0, most))
            numbers = ["" if one is None else f"{one:.3f}" for one in (float(values.mean()), low, high)]
            yield [arm, name, *numbers, f"{len(values)} clips"]


@torch.no_grad()
def listen(encoder: ImageBind, clip: Clip) -> np.ndarray:
    """The first token of the sound that is known (1 D)."""
    return encoder.encode(hold(clip, KNOWN, KNOWN)).values[:, 0].numpy()


if __name__ == "__main__":
    main()
