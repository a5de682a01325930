from pathlib import Path

import pytest

from worldgen.generation.generate import choose_frame, generate, generate_by, prepare, weights_of
from worldgen.generation.request import Edit, KnownFrames, Request, Sampling, Shape, Wording, read_request
from worldgen.runs.folder import HOME, open_run
from worldgen.runs.trained_on import TrainedOn, read_training

RUN = HOME / "assets" / "nano" / "generator"
PROMPT = "a red ball drops onto the floor and bounces"


def request(**given):
    return Request(**{"run": RUN, "prompts": [PROMPT], **given})


def test_size_rate_and_length_are_those_of_training_unless_asked():
    trained = TrainedOn(13, 48, 64, 12.5)
    found = choose_frame(request(), trained)
    assert (found.height, found.width, found.fps, found.frames) == (48, 64, 12.5, 13)
    asked = choose_frame(request(shape=Shape(frames=4, size=32, fps=5.0)), trained)
    assert (asked.height, asked.width, asked.fps, asked.frames) == (32, 32, 5.0, 4)
    with pytest.raises(ValueError, match="give --size, --frames"):
        choose_frame(request(shape=Shape(fps=5.0)), None)
    assert choose_frame(request(shape=Shape(frames=4, size=32, fps=5.0)), None).height == 32


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"edit": Edit(Path("small.mp4"))}, "or a whole multiple; .* 32 x 32"),
        ({"edit": Edit(Path("short.mp4"))}, "--edit must have 16 frames; .*short.mp4 has 5"),
        ({"edit": Edit(Path("drop.mp4"), 1.2)}, "strength of an edit must lie in .0, 1.; got 1.2"),
        ({"edit": Edit(Path("drop.mp4"), keep=Path("mask.png"))}, "a picture of the video's 128 x 128"),
        ({"edit": Edit(Path("drop.mp4")), "shape": Shape(frames=31)}, "16 frames at most; got 31"),
        ({}, "trained to go on from 1 or 2 first frames, and 0 are given"),
        ({"known": KnownFrames(before=Path("drop.mp4"))}, "and 0 are given"),
        ({"first_frames": Path("drop.mp4"), "shape": Shape(frames=31, overlap=16)}, "less than the 16"),
        ({"first_frames": Path("drop.mp4"), "shape": Shape(frames=31, overlap=5)}, "a number of first"),
        ({"first_frames": Path("drop.mp4"), "shape": Shape(frames=31, context_noise=0.1)}, "in 0 to the 0"),
        ({"first_frames": Path("drop.mp4"), "shape": Shape(context_noise=0.1)}, "made window after window"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_and_nothing_is_written(
    videos, given, sentence, monkeypatch, tmp_path
):
    monkeypatch.chdir(videos)
    with pytest.raises(ValueError, match=sentence):
        generate(request(**given), tmp_path / "out" / "clip.mp4")
    assert not (tmp_path / "out").exists()


def test_a_join_has_all_frames_of_both_and_a_loop_tells_its_seam(videos, tmp_path):
    said = []
    (joined,) = generate(
        request(known=KnownFrames(join=[videos / "drop.mp4"] * 2)), tmp_path / "join.mp4", said.append
    )
    assert joined.frames == 16 + 12 + 16 and any("not for other known frames" in note for note in said)
    said.clear()
    (loop,) = generate(
        request(first_frames=videos / "drop.mp4", known=KnownFrames(loop=True)),
        tmp_path / "loop.mp4",
        said.append,
    )
    assert loop.frames == 14 and any("Across the seam of the loop" in note for note in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{ending}" for name in ("join", "loop") for ending in ("json", "mp4", "png")
    ]


def test_of_more_first_frames_than_trained_the_nearest_are_known(videos):
    asked = request(known=KnownFrames(after=videos / "drop.mp4"), shape=Shape(context_frames=5))
    trained = read_training(RUN)
    maker, _ = prepare(asked, open_run(RUN), choose_frame(asked, trained), trained)
    assert maker.layout.places == (0, 1) and len(maker.layout.before) == 16
    assert len(weights_of(RUN)) == 64


def test_an_open_model_makes_the_same_stays_as_it_is_and_shows_each_step(videos, tmp_path):
    asked = request(first_frames=videos / "drop.mp4", shape=Shape(frames=4), sampling=Sampling(steps=2))
    model, shown = open_run(RUN), []
    own = model.sampler
    (made,) = generate_by(
        model, asked, tmp_path / "by.mp4", print, lambda *step: shown.append(step), keep=True
    )
    (same,) = generate(asked, tmp_path / "same.mp4")
    assert made.digest == same.digest and model.sampler is own
    assert [(done, steps) for done, steps, _ in shown] == [(1, 2), (2, 2)]
    assert shown[1][2]().equal(made.clip.frames)


def test_prompts_are_written_out_as_far_as_the_run_reads_and_repeat_the_same(videos, tmp_path):
    said = []
    asked = request(
        prompts=["a red ball falls"],
        sampling=Sampling(steps=1),
        first_frames=videos / "drop.mp4",
        wording=Wording(expand=True),
    )
    (made,) = generate(asked, tmp_path / "out.mp4", said.append)
    assert "At first, the red ball falls." in made.prompt and "camera" not in made.prompt
    assert any(f"was written out: {made.prompt}" in note for note in said)
    again, _ = read_request(tmp_path / "out.json")
    assert again.prompts == [made.prompt] and not again.wording.expand
