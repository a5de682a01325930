"""`worldgen generate` with the shipped weights."""

import json
from pathlib import Path

import pytest
import torch

from worldgen.cli import main as cli
from worldgen.data.media import read_video, write_png, write_video
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
        (["--context-frames", "0"], "--context-frames must be at least 1 of what is given; got 0"),
        (["--strength", "1.5"], "--strength must be from 0 to 1; got 1.5"),
        (["--edit", "x.mp4"], "--first-frames and --edit cannot go together"),
        (["--negative", "a box"], "--negative needs guidance above 1"),
        (["--guidance", "video=2"], "slots that the run has, text; got video"),
        (["--prompts", "x.txt"], "needs RUN, and --prompt or --prompts or --story"),
        (["--repeat", "none.json"], "No json of a clip at none.json"),
        (["--best-of", "4"], "--best-of N, of 2 or more draws, and --by MEASURE go together"),
        (["--by", "laws"], "--best-of N, of 2 or more draws, and --by MEASURE go together"),
        (
            ["--best-of", "2", "--by", "laws", "--frames", "31"],
            "clips of 16 frames at most, a window; got 31",
        ),
        (["--keyframes", "3"], "--keyframes makes what lies between two frames; "),
        (["--keyframes", "3", "--frames", "40"], "3 keyframes, 15 apart, are a clip of 31 frames; got 40"),
        (["--stages", "nowhere"], "The folder of a stage must hold config.json; nowhere does not"),
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
    assert not list(tmp_path.glob("*out*"))


def test_several_clips_have_a_sheet_and_a_json_that_repeats_them(first_frames, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a red ball drops\na blue ball falls\n")
    words = [
        "--prompts",
        str(tmp_path / "prompts.txt"),
        "--samples",
        "2",
        "--steps",
        "2",
        "--guidance",
        "text=2",
    ]
    words += ["--negative", "a box", "--first-frames", str(first_frames), "--out", str(tmp_path / "clip.mp4")]
    cli.main(["generate", str(RUN), *words])
    names = [f"clip-{index:02d}.mp4" for index in range(4)]
    assert sorted(path.name for path in tmp_path.glob("clip*")) == sorted([*names, "clip.png", "clip.json"])
    told = json.loads((tmp_path / "clip.json").read_text())
    assert [one["seed"] for one in told["clips"]] == [0, 1, 2, 3]
    assert len({one["sha256"] for one in told["clips"]}) == 4
    capsys.readouterr()
    cli.main(
        ["generate", "--repeat", str(tmp_path / "clip.json"), "--out", str(tmp_path / "again" / "clip.mp4")]
    )
    assert "4 clips with the bits of before" in capsys.readouterr().out
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    told["weights"] = "other"
    (tmp_path / "clip.json").write_text(json.dumps(told))
    with pytest.raises(SystemExit):
        cli.main(["generate", "--repeat", str(tmp_path / "clip.json"), "--out", str(tmp_path / "clip.mp4")])
    assert "was made with other weights" in capsys.readouterr().err


def test_the_best_of_several_draws_is_the_clip_of_its_seed_and_says_what_no_longer_judges_it(
    first_frames, tmp_path, capsys
):
    words = ["generate", str(RUN), "--prompt", "a red ball drops onto the floor", "--steps", "2"]
    words += ["--first-frames", str(first_frames), "--context-frames", "1"]  # of one frame draws differ much
    chosen = ["--best-of", "3", "--by", "laws", "--samples", "2", "--seed", "5"]
    cli.main([*words, *chosen, "--out", str(tmp_path / "best.mp4")])
    assert "the checks of single laws" in capsys.readouterr().out
    told = json.loads((tmp_path / "best.json").read_text())
    assert [one["draws"]["seeds"] for one in told["clips"]] == [[5, 6, 7], [8, 9, 10]]
    kept = told["clips"][1]
    assert kept["seed"] == kept["draws"]["kept"] and len(kept["draws"]["scores"]) == 3
    cli.main([*words, "--seed", str(kept["seed"]), "--out", str(tmp_path / "one.mp4")])
    # Alone a clip is rounded otherwise than among six, which a video's encoder makes a few levels of.
    one, best, other = (
        read_video(tmp_path / name)[0].float() for name in ("one.mp4", "best-01.mp4", "best-00.mp4")
    )
    assert (one - best).abs().mean() < 0.01 * (one - other).abs().mean()
    assert any("no verdict from outside" in note for note in told["notes"])
