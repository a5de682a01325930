"""Videos of one scene, and a LoRA that learned one of them with the shipped generator."""

import pytest

from worldgen.data.media import write_png, write_video
from worldgen.generation.tuning import Tuning, tune
from worldgen.runs.folder import HOME
from worldgen.simulation.clips import simulate_clip


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    frames = simulate_clip("drop", 123).frames[0]
    write_video(folder / "drop.mp4", frames, 25.0, upscale=2)
    write_video(folder / "small.mp4", frames[..., ::2, ::2].clone(), 25.0)
    write_video(folder / "short.mp4", frames[:5], 25.0)
    write_png(folder / "mask.png", frames[0])
    write_video(folder / "still.mp4", frames[:1].expand(40, -1, -1, -1).clone(), 25.0)
    return folder


@pytest.fixture(scope="session")
def tuned(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "lora"
    return tune(
        HOME / "assets" / "nano" / "generator",
        str(videos / "drop.mp4"),
        "a red ball drops onto the floor and bounces",
        out,
        Tuning(steps=4, rank=2, lr=1e-2),
    )
