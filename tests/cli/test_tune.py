"""`worldgen tune`, and `worldgen generate --tuned`."""

import pytest

from worldgen.cli import main as cli
from worldgen.data.media import write_video
from worldgen.runs.folder import HOME
from worldgen.simulation.clips import simulate_clip

RUN = str(HOME / "assets" / "nano" / "generator")


@pytest.fixture(scope="module")
def drop(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "drop.mp4"
    write_video(path, simulate_clip("drop", 123).frames[0], 25.0)
    return str(path)


def test_a_clip_is_learned_and_the_next_command_is_said(drop, tmp_path, capsys):
    out = str(tmp_path / "lora")
    cli.main(["tune", drop, "--run", RUN, "--prompt", "a red ball drops", "--out", out, "--steps", "2"])
    said = capsys.readouterr().out
    assert "Loss 0." in said and f"worldgen generate {RUN} ... --tuned {out}" in said
    words = ["--prompt", "a red ball drops", "--first-frames", drop, "--frames", "4", "--steps", "1"]
    cli.main(["generate", RUN, *words, "--tuned", out, "--out", str(tmp_path / "out.mp4")])
    cli.main(["generate", "--repeat", str(tmp_path / "out.json"), "--out", str(tmp_path / "again.mp4")])
    assert "1 clips with the bits of before" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--steps", "0"], "--steps must be from 1 to 1,000; got 0"),
        (["--rank", "0"], "--rank must be from 1 to 10,000; got 0"),
        (["--lr", "0"], "--lr must be from 1e-09 to 10; got 0"),
        (["--run", "nowhere"], "A run must hold config.yaml; nowhere does not"),
    ],
)
def test_bad_requests_get_one_sentence(words, sentence, drop, tmp_path, capsys):
    given = {"--run": RUN, "--prompt": "a ball", "--out": str(tmp_path / "lora")}
    given |= dict(zip(words[::2], words[1::2], strict=True))
    with pytest.raises(SystemExit) as stop:
        cli.main(["tune", drop, *(word for pair in given.items() for word in pair)])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and sentence in error and "\n" not in error
    assert not list(tmp_path.iterdir())
