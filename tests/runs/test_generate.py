"""A video from a prompt and first frames, with the shipped weights."""

from pathlib import Path

import pytest
import torch

from worldgen.cli import main as cli
from worldgen.data.media import read_video, write_png, write_video
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.runs.generate import read_shard_clip
from worldgen.simulation.clips import simulate_clip

RUN = Path(__file__).resolve().parents[2] / "assets" / "nano" / "generator"


@pytest.fixture(scope="module")
def first_frames(tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "drop.mp4"
    write_video(path, simulate_clip("drop", 123).frames[0], 25.0)
    return path


def test_generate_gives_the_same_bits_for_the_same_seed(first_frames, tmp_path):
    words = ["generate", str(RUN), "--prompt", "a red ball drops onto the floor and bounces"]
    words += ["--first-frames", str(first_frames)]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        cli.main([*words, "--seed", seed, "--out", str(tmp_path / f"{name}.mp4")])
    first, again, other = (read_video(tmp_path / f"{name}.mp4")[0] for name in "abc")
    assert first.shape == (16, 3, 256, 256)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_picture_is_a_clip_of_one_frame(tmp_path):
    write_png(tmp_path / "start.png", simulate_clip("drop", 123).frames[0, 0])
    words = ["generate", str(RUN), "--prompt", "a ball drops", "--first-frames", str(tmp_path / "start.png")]
    cli.main([*words, "--out", str(tmp_path / "out.mp4")])
    assert len(read_video(tmp_path / "out.mp4")[0]) == 16


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--prompt", "ball " * 2000], "A prompt must be at most 64 tokens"),
        (["--frames", "15"], "takes 1 + 3 n frames; got 15. Cut the clip to 13"),
        (["--context-frames", "0"], "--context-frames and --frames must be at least 1; got 0 and 16"),
        (["--out", "clip.avi"], "--out must end in .mp4"),
        (["--first-frames", "nowhere.mp4"], "No video at nowhere.mp4"),
    ],
)
def test_bad_requests_get_one_sentence(words, sentence, first_frames, tmp_path, capsys):
    given = {"--prompt": "a ball", "--first-frames": str(first_frames), "--out": str(tmp_path / "out.mp4")}
    given |= dict(zip(words[::2], words[1::2], strict=True))
    with pytest.raises(SystemExit) as stop:
        cli.main(["generate", str(RUN), *(word for pair in given.items() for word in pair)])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and sentence in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out.mp4").exists()


def test_clips_of_shards_are_named_by_number(tmp_path):
    shards = tmp_path
    simulate_shards(shards, ("drop",), 16, size=16, frames=4, processes=1)
    assert torch.equal(read_shard_clip(f"{shards}:3").frames, ShardedClips(shards)[3].frames)
    for number in ("16", "-1", "x"):
        with pytest.raises(ValueError, match=f"must be a number below 16; got '{number}'"):
            read_shard_clip(f"{shards}:{number}")
