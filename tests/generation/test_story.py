import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldgen.cli import main as cli
from worldgen.data.media import read_video, write_video
from worldgen.generation.request import KnownFrames, Request, Sampling, Wording
from worldgen.generation.story import tell_story, tell_story_by
from worldgen.runs.folder import HOME, open_run
from worldgen.simulation.clips import simulate_clip

RUN = HOME / "assets" / "nano" / "generator"


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    write_video(folder / "drop.mp4", simulate_clip("drop", 123).frames[0], 25.0)
    (folder / "story.txt").write_text("a red ball drops\n0.2 s: it bounces\nit falls")
    story = Wording(story=folder / "story.txt")
    return Request(RUN, [], folder / "drop.mp4", sampling=Sampling(steps=2), wording=story)


@pytest.fixture(scope="module")
def told(request_, tmp_path_factory):
    out = tmp_path_factory.mktemp("told") / "out.mp4"
    return tell_story(request_, out, [].append, keep=True)[0]


def test_shots_go_on_from_each_other_and_the_json_has_the_cuts(told):
    read = json.loads(told.file.with_suffix(".json").read_text())
    assert [shot["frames"] for shot in read["shots"]] == [16, 5, 14] and told.frames == 35
    assert read["cuts"] == [0.64, 0.84] and read["shots"][2]["end"] == pytest.approx(1.4)
    assert [shot["prompt"] for shot in read["shots"][1:]] == ["a red ball bounces", "a red ball falls"]
    assert len(read_video(told.file)[0]) == 35 and told.file.with_suffix(".png").is_file()
    frames = told.clip.frames[0]
    change = (frames[1:] - frames[:-1]).abs().mean(dim=(1, 2, 3))
    assert max(change[15], change[20]) < 3 * change.mean()  # across the cuts as within


def test_the_json_repeats_the_story_and_another_seed_is_another(told, request_, tmp_path, capsys):
    words = ["generate", "--repeat", str(told.file.with_suffix(".json")), "--out", str(tmp_path / "a.mp4")]
    cli.main(words)
    assert "with the bits of before" in capsys.readouterr().out
    other = tell_story(replace(request_, seed=1), tmp_path / "b.mp4", [].append)[0]
    assert other.digest != told.digest


def test_an_open_model_tells_the_same_step_by_step_and_nothing_longer_than_it_may(told, request_, tmp_path):
    model, steps = open_run(RUN), []
    own = model.sampler
    hear = lambda done, of, decode: steps.append((done, of, decode().shape[1]))  # noqa: E731
    (film,) = tell_story_by(model, request_, tmp_path / "a.mp4", [].append, hear, most_frames=35)
    assert film.digest == told.digest and film.clip is None and model.sampler is own
    assert steps == [(done, 6, 16) for done in range(1, 7)]
    with pytest.raises(ValueError, match="at most 34 frames; its shots have 35"):
        tell_story_by(model, request_, tmp_path / "b.mp4", [].append, most_frames=34)
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"known": KnownFrames(after=Path("x.mp4")), "first_frames": None}, "--after is of one clip alone"),
        ({"samples": 2}, "--samples is of one clip alone"),
        ({"prompts": ["a ball"]}, "--prompt is of one clip alone"),
    ],
)
def test_what_is_of_one_clip_does_not_go_with_a_story(request_, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(request_, **given)


@pytest.mark.parametrize("last, sentence", [("", "two shots or more"), ("ball " * 99, "at most 64 tokens")])
def test_what_cannot_be_told_leaves_nothing(request_, last, sentence, tmp_path):
    (tmp_path / "story.txt").write_text(f"a red ball drops\n{last}")
    asked = replace(request_, wording=Wording(story=tmp_path / "story.txt"))
    with pytest.raises(ValueError, match=sentence):
        tell_story(asked, tmp_path / "out" / "out.mp4", [].append)
    assert not (tmp_path / "out").exists() and torch.is_grad_enabled()
