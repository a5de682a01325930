import json
from pathlib import Path

import pytest

from worldgen.generation.request import (
    Edit,
    Following,
    KnownFrames,
    Request,
    Sampling,
    Shape,
    Wording,
    read_prompts,
    read_request,
    write_request,
)

RUN = Path("run")


def test_a_request_comes_back_out_of_its_json(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    request = Request(
        RUN, ["one", "two"], tmp_path / "a.png", 3, 2, Shape(frames=13), Sampling(8, ["text=2"], "a box"),
        KnownFrames(last_frames=tmp_path / "a.png"), Edit(), Following([Path("c")], "data:3", [0.5]),
    )  # fmt: skip
    write_request(tmp_path / "clip.json", request, {"clips": []})
    again, told = read_request(tmp_path / "clip.json")
    assert again == request and told["clips"] == []
    (tmp_path / "a.png").write_bytes(b"another")
    with pytest.raises(ValueError, match="made from .*a.png, which is gone or another file now"):
        read_request(tmp_path / "clip.json")


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", json.dumps({"request": {"run": "a", "colour": 1}, "files": {}})]
)
def test_another_json_is_refused(tmp_path, text):
    (tmp_path / "clip.json").write_text(text)
    with pytest.raises(ValueError, match="must be the json that `worldgen generate` writes"):
        read_request(tmp_path / "clip.json")
    with pytest.raises(FileNotFoundError, match="No json of a clip at"):
        read_request(tmp_path / "none.json")


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"known": KnownFrames(after=RUN, before=RUN)}, "--after and --before cannot go together"),
        ({"first_frames": RUN, "edit": Edit(RUN)}, "--first-frames and --edit cannot go together"),
        ({"known": KnownFrames(known=RUN)}, "--known and --at go together"),
        ({"known": KnownFrames(join=[RUN])}, "--join must name two videos; got 1"),
        ({"known": KnownFrames(loop=True)}, "--loop meets the --first-frames again"),
        ({"edit": Edit(keep=RUN)}, "--keep is a part of --edit VIDEO"),
        ({"following": Following([RUN])}, "--control and --control-from go together"),
        ({"prompts": []}, "There must be a prompt"),
        ({"sampling": Sampling(best_of=2)}, "--best-of N, of 2 or more draws, and --by MEASURE go together"),
        (
            {"shape": Shape(keyframes=3), "known": KnownFrames(last_frames=RUN)},
            "--keyframes .* --last-frames",
        ),
        ({"shape": Shape(keyframes=3), "known": KnownFrames(after=RUN)}, "--keyframes .* --after asks"),
        ({"shape": Shape(keyframes=3), "edit": Edit(RUN)}, "--keyframes .* --edit asks"),
        (
            {"shape": Shape(keyframes=3), "first_frames": RUN, "known": KnownFrames(loop=True)},
            "--keyframes .* --loop asks",
        ),
        ({"wording": Wording(story=RUN)}, "--story makes one clip after another; --prompt is"),
        ({"prompts": [], "wording": Wording(story=RUN), "samples": 2}, "--samples is of one clip"),
        (
            {"prompts": [], "wording": Wording(story=RUN), "shape": Shape(stages=[RUN])},
            "--stages is of one clip",
        ),
        (
            {"prompts": [], "wording": Wording(story=RUN), "shape": Shape(keyframes=3)},
            "--keyframes is of one",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Request(**{"run": RUN, "prompts": ["a"], **given})


def test_prompts_are_lines(tmp_path):
    (tmp_path / "prompts.txt").write_text("one\n\n two \n")
    assert read_prompts(tmp_path / "prompts.txt") == ["one", "two"]
    (tmp_path / "prompts.txt").write_text("\n")
    with pytest.raises(ValueError, match="must hold a prompt on each line"):
        read_prompts(tmp_path / "prompts.txt")
    with pytest.raises(FileNotFoundError, match="No file of prompts"):
        read_prompts(tmp_path / "none.txt")
