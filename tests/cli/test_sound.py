import pytest

from worldgen.cli import main as cli


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "clips"
    words = ["simulate", "--families", "drop", "--clips", "2", "--size", "16", "--frames", "16"]
    cli.main([*words, "--seed", "3", "--processes", "1", "--out", str(folder)])
    return folder


def refused(words, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_folder_of_shards_is_narrated(shards, tmp_path, capsys):
    words = [
        "narrate",
        str(shards),
        "--voice",
        "tests.audio.tones.ToneVoice",
        "--out",
        str(tmp_path / "told"),
    ]
    cli.main([*words, "--clips", "1"])
    assert capsys.readouterr().out.startswith("1 clips in ")
    assert {path.suffix for path in (tmp_path / "told").iterdir()} == {".mp4", ".srt", ".vtt"}


@pytest.mark.parametrize(
    "words, told",
    [
        (["--tells", "jokes"], "--tells must be events or caption; got 'jokes'."),
        (["--slow", "0.5"], "--slow must be from 1 to 100; got 0.5."),
        (["--voice", "nowhere.yaml"], "No yaml of a voice at nowhere.yaml."),
        (["--voice", "worldgen.audio.foreign_voices.CoquiVoice"], "pip install coqui-tts"),
    ],
)
def test_what_cannot_be_narrated_is_one_sentence(words, told, shards, tmp_path, capsys):
    said = refused(["narrate", str(shards), "--out", str(tmp_path / "told"), *words], capsys)
    assert told in said and said.count("\n") == 1


def test_clips_of_which_none_can_be_told_are_written_silent_and_the_command_fails(tmp_path, capsys):
    folder = tmp_path / "clips"
    words = ["simulate", "--families", "tumble", "--clips", "2", "--size", "16", "--frames", "4"]
    cli.main([*words, "--processes", "1", "--out", str(folder)])
    narrate = ["narrate", str(folder), "--voice", "tests.audio.tones.ToneVoice", "--out", f"{tmp_path}/told"]
    said = refused(narrate, capsys)
    assert said.startswith(f"worldgen: All 2 clips are written to {tmp_path}/told, and all are silent. ")
    assert "no contacts that are blows" in said and said.count("\n") == 1
    assert {path.suffix for path in (tmp_path / "told").iterdir()} == {".mp4"}


GENERATE = ["generate", "assets/nano/generator", "--first-frames", "assets/readme/drop.mp4"]


def test_a_generated_clip_speaks(tmp_path, capsys):
    out = tmp_path / "out.mp4"
    words = ["--prompt", "a red ball drops", "--frames", "16", "--voice", "tests.audio.tones.ToneVoice"]
    cli.main([*GENERATE, *words, "--speech", "one two", "--out", str(out)])
    assert f"16 frames in {out}. Sound in it, and in {out.with_suffix('.wav')}.\n" in capsys.readouterr().out
    said = refused([*GENERATE, *words, "--speech", "captions", "--out", str(out)], capsys)
    assert said.startswith(f"worldgen: {out} is written, and is silent: 'a red ball drops' takes 0.6")


def test_each_of_several_clips_gets_its_sound_though_another_has_none(tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a red ball drops onto the floor\nball")
    words = ["--prompts", f"{tmp_path}/prompts.txt", "--frames", "16", "--speech", "captions", "--steps", "1"]
    voice = ["--voice", "tests.audio.tones.ToneVoice", "--out", f"{tmp_path}/out.mp4"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*GENERATE, *words, *voice])
    told = capsys.readouterr()
    assert stop.value.code == 2 and "out-00.mp4 is written, and is silent" in told.err
    assert "16 frames in " in told.out and f"and in {tmp_path}/out-01.wav." in told.out
    assert not (tmp_path / "out-00.wav").exists() and (tmp_path / "out-01.wav").is_file()


@pytest.mark.parametrize(
    "words, told",
    [
        (
            ["--sound", "music"],
            "--sound must be impact, generated or a folder of `pretrain sound`; got 'music'.",
        ),
        (["--voice", "tests.audio.tones.ToneVoice"], "--voice speaks what --speech says; give both."),
    ],
)
def test_a_wrong_sound_is_refused_before_anything_is_made(words, told, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    assert told in refused([*GENERATE, "--prompt", "x", "--out", str(out), *words], capsys)
    assert not out.exists()
