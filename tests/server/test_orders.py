"""A job is a request of `worldgen generate`, and its command line asks for the same."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.server.asks import GenerateAsk
from worldgen.server.orders import GivenFile, Order, command_of, name_files, request_of

A, B = "a" * 32, "b" * 32
RUN = Path("runs/mine")


def order(*given, **fields):
    files = {A: GivenFile(Path(f"up/{A}.mp4"), "first one.mp4"), B: GivenFile(Path(f"up/{B}.png"), "b.png")}
    return Order(GenerateAsk("mine", *given, **fields), Path("out"), files)


@pytest.mark.parametrize(
    "asked",
    [
        order(A, "a ball's fall", 3, 12, 1),
        order(A, last_frames=B, steps=9, guidance={"text": 2.5}, negative="blue"),
        order(A, loop=True, without=("text", "video"), prompt="a ball"),
        order(A, best_of=3, physics_guidance=0.5),
        order(after=A),
        order(before=A),
        order(after=A, before=B),
        order(edit=A, strength=0.25, keep=B),
        order(A, story="a ball drops\nit bounces", seed=2, without=("text",)),
        order(A, "a ball drops", keyframes=3),
    ],
)
def test_the_command_line_asks_for_what_the_job_asked(asked, monkeypatch, tmp_path):
    """Read by the command line itself, with the client's names where the server has its own."""
    request = request_of(asked, RUN)
    monkeypatch.chdir(tmp_path)
    for name in asked.names.values():
        Path(name).touch()
    (tmp_path / RUN).mkdir(parents=True)
    found = []
    for kind in ("generate", "tell_story"):
        monkeypatch.setattr(
            f"worldgen.generation.story.{kind}", lambda *given, **_: found.append(given) or []
        )
    cli.main(shlex.split(command_of(request, asked))[1:])
    ((again, out),) = found
    named = json.dumps(_plain(request))
    for at, name in asked.names.items():
        named = named.replace(str(at), name)
    assert json.loads(named) == _plain(again) and out == Path("out.mp4")


def _plain(request):
    return json.loads(json.dumps(asdict(request), default=str))


def test_known_frames_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="--first-frames and --edit cannot go together"):
        request_of(order(A, edit=B), RUN)
    with pytest.raises(ValueError, match="--story makes one clip after another; --prompt is of one clip"):
        request_of(order(A, "a ball drops", story="a ball drops\nit bounces"), RUN)


def test_the_json_beside_a_clip_names_files_as_the_client_does(tmp_path):
    path = tmp_path / "clip.json"
    path.write_text(json.dumps({"files": {f"up/{A}.mp4": "hash"}, "prompt": f"up/{A}"}))
    name_files(path, order(A))
    assert json.loads(path.read_text()) == {"files": {"first one.mp4": "hash"}, "prompt": f"up/{A}"}
