import dataclasses
import inspect
from pathlib import Path

import pytest

from worldgen.cli import evaluate
from worldgen.cli import main as cli
from worldgen.cli.words.options import read_options, read_words

FUNCTIONS = [evaluate.run, evaluate.videos, evaluate.tracks, evaluate.codec, *evaluate.BENCHMARKS.values()]


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *words])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "short, whole",
    [
        ("r --data d", "run r --data d"),
        ("--run r --data d", "run --run r --data d"),
        ("--data d --run r", "run --data d --run r"),
        ("--videos v --out o", "videos --videos v --out o"),
        ("--out o --videos=v", "videos --out o --videos=v"),
        ("--tracks t --fps 3", "tracks --tracks t --fps 3"),
        ("--benchmark physics-iq --real r", "benchmark physics-iq --real r"),
        ("--videos v --benchmark=videophy2 --judge j", "benchmark videophy2 --videos v --judge j"),
        ("--codec c --data d", "codec --codec c --data d"),
        ("--data d --codec=c", "codec --data d --codec=c"),
        ("codec c --data d", "codec c --data d"),
        ("videos v", "videos v"),
        ("--help", "--help"),
    ],
)
def test_short_forms_are_those_of_the_group(short, whole):
    assert evaluate.lengthen(short.split()) == whole.split()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_each_command_takes_nine_arguments_at_most_and_explains_its_options(function):
    assert len(inspect.signature(function).parameters) <= 9
    assert all(option.text for option in read_options(function))
    for parameter in inspect.signature(function).parameters.values():
        if dataclasses.is_dataclass(parameter.default):
            with pytest.raises(dataclasses.FrozenInstanceError):
                parameter.default.anything = 1


def test_what_belongs_together_is_one_argument():
    words = ["v", "--scale", "g", "--rate", "240", "--detector", "d", "--against", "a", "--encoder", "e"]
    assert read_words(evaluate.videos, "evaluate videos", words, "videos") == {
        "videos": Path("v"),
        "capture": evaluate.CaptureOptions("g", None, 240.0),
        "tracking": evaluate.TrackingOptions("d"),
        "real": evaluate.AgainstOptions(Path("a"), "e"),
    }


def test_windows_say_what_is_known_of_them():
    assert evaluate.WindowOptions().windows() is None
    windows = evaluate.WindowOptions(16, skip=2).windows()
    assert windows is not None and (windows.contexts, windows.skip) == ((8,), 2)
    with pytest.raises(ValueError, match="go with --window"):
        evaluate.WindowOptions(contexts=[4])


@pytest.mark.parametrize(
    "words, told",
    [
        (["--vidoes", "v"], "Did you mean --videos?"),
        (["--out", "x"], "has no option --out in front; it has --videos, --tracks, --codec, --benchmark."),
        (
            ["dance", "--videos", "v"],
            "evaluate run has no option --videos; it is of worldgen evaluate videos.",
        ),
        (["videos", "v", "--lpips", "b"], "has no option --lpips; it is of worldgen evaluate run."),
        (["videos", "v", "--clip", "3"], "evaluate videos has no option --clip"),
        (
            ["videos", "v", "--against", "a"],
            "compares the videos with real ones by --encoder WHICH; give both.",
        ),
        (["run", "r"], "worldgen evaluate run needs --data; give it."),
        (["benchmark", "physics"], "Did you mean physics-iq?"),
        (["benchmark", "intphys", "--judge", "j"], "it is of worldgen evaluate benchmark videophy2."),
        (["benchmark", "likephys", "--pairs", "p", "--encoder", "e", "--skip", "2"], "go with --window"),
    ],
)
def test_an_option_of_another_kind_is_unknown(words, told, capsys):
    assert told in fails(capsys, *words)


def test_bad_folders_get_one_sentence(capsys, tmp_path):
    assert "must hold config.yaml" in fails(capsys, str(tmp_path), "--data", str(tmp_path))
    assert "No folder of videos" in fails(capsys, "--videos", str(tmp_path / "nowhere"))
    assert "must hold videos" in fails(capsys, "videos", str(tmp_path))
    assert "No AlexNet weights at b.pth" in fails(capsys, "r", "--data", "d", "--lpips", "b.pth")


def test_damaged_videos_are_skipped_and_counted_and_alone_they_are_an_error(capsys, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "empty.mp4").touch()
    (folder / "noise.mp4").write_bytes(b"not a video" * 100)
    error = fails(capsys, "--videos", str(folder), "--out", str(tmp_path / "report"))
    assert "None of 2 videos can be judged" in error and "empty.mp4" in error
