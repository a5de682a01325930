import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.importing.test_layouts import write_tar
from tests.data.importing.test_lerobot import write_lerobot
from tests.data.videos import ball, write
from worldgen.cli import main as cli
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.engines.local import LocalEngine
from worldgen.data.importing import importing
from worldgen.data.importing.importing import import_videos
from worldgen.data.media import read_video
from worldgen.data.sources import ShardedClips, open_source

ROOT = Path(__file__).resolve().parents[3]


def dropped(out: Path) -> list[tuple[str, str, str]]:
    with open(out / "dropped.csv", encoding="utf-8", newline="") as file:
        return [(row["file"], row["start"], row["reason"]) for row in csv.DictReader(file)]


def contents(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven clips of 8 frames in two sizes, and four files that cannot be used."""
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "a.mp4", ball(40))
    write(folder / "deep/b.webm", ball(20), "libvpx-vp9")
    write(folder / "tall.mkv", (image.swapaxes(0, 1) for image in ball(10)), "ffv1", "bgr0")
    write_tar(
        folder / "x.tar", {"c.mp4": write(folder / "c.mp4", ball(24)).read_bytes(), "c.txt": b"in a tar"}
    )
    (folder / "c.mp4").unlink()
    (folder / "a.txt").write_text("a ball moves")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video" * 99)
    write(folder / "short.mp4", ball(3))
    Image.fromarray(next(ball(1))).save(folder / "still.png")
    return folder


@pytest.fixture(scope="module")
def shards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "shards"
    done = import_videos(folder, out, frames=8, processes=2)
    assert (done.clips, done.recordings, done.imported) == (11, 4, 7)
    assert done.buckets == (("8x48x80", 10), ("8x80x48", 1))
    assert dict(done.dropped) == {"empty": 1, "not a video": 1, "too short": 1, "picture": 1}
    return out


def test_clips_are_in_order_of_names_with_their_captions(shards: Path, folder: Path) -> None:
    source = ShardedClips(shards / "8x48x80")
    names = [source.name(index).rsplit("-", 2)[0] for index in range(10)]
    assert names == ["a"] * 5 + ["b"] * 2 + ["x_tar_c"] * 3
    assert [entry.caption for entry in source.index.entries] == ["a ball moves"] * 5 + [""] * 2 + [
        "in a tar"
    ] * 3
    frames, fps = read_video(folder / "a.mp4")
    clip = source[2]
    assert clip.frames.shape == (1, 8, 3, 48, 80) and float(clip.fps[0]) == fps == 25
    wanted = torch.nn.functional.interpolate(
        frames[16:24].float() / 255, (60, 80), mode="bilinear", antialias=True, align_corners=False
    )[..., 6:54, :]  # 64 x 48 pixels at 5/4, the middle
    assert (clip.frames[0] - wanted).abs().mean() < 0.005
    assert (source[3].frames[0] - wanted).abs().mean() > 0.02, "another moment"


def test_every_loss_is_listed(shards: Path) -> None:
    assert dropped(shards) == [
        ("empty.mp4", "", "empty: the file has 0 bytes"),
        ("short.mp4", "", "too short: 3 of the 8 frames of a clip at 25 per second"),
        ("still.png", "", "picture: not asked for, see --images"),
        ("text.mp4", "", "not a video: Invalid data found when processing input"),
    ]
    assert not [name for name in contents(shards) if "spool" in name or "partial" in name]


def test_a_bucket_feeds_the_data_module(shards: Path) -> None:
    data = ClipDataModule(train=shards / "8x48x80", val=shards / "8x80x48", batch_size=4)
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape == (4, 8, 3, 48, 80) and len(set(batch.prompts)) > 1
    assert next(iter(data.val_dataloader())).frames.shape == (1, 8, 3, 80, 48)


def test_the_whole_folder_opens_and_asks_for_one_size(shards: Path) -> None:
    whole = open_source(shards)
    assert len(whole) == 11 and {tuple(whole[i].frames.shape[-2:]) for i in range(11)} == {(48, 80), (80, 48)}
    with pytest.raises(ValueError, match=r"holds 8 frames of 48x80\. .* name the folder of one size"):
        open_source(shards, size=64)


def test_a_second_run_does_nothing_and_a_new_file_is_added(
    folder: Path, shards: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "shards", tmp_path / "videos"
    shutil.copytree(shards, out)
    shutil.copytree(folder, more)
    before = contents(out)
    assert import_videos(more, out, frames=8).imported == 0
    assert contents(out) == before, "copied files have new times, and are the same"
    write(more / "0.mp4", ball(8))
    (more / "a.mp4").unlink()  # what was imported stays
    write(more / "empty.mp4", ball(9))  # and what was of no use is tried again when it changes
    done = import_videos(more, out, frames=8, processes=1)
    assert (done.clips, done.imported, dict(done.dropped)["too short"]) == (13, 2, 1)
    assert "empty.mp4" not in [file for file, _, _ in dropped(out)]
    now = contents(out)
    assert {name: data for name, data in now.items() if name in before and name != "dropped.csv"} == {
        name: data for name, data in before.items() if name != "dropped.csv"
    }
    assert len(ShardedClips(out)) == 13


def test_the_number_of_processes_changes_no_byte(folder: Path, shards: Path, tmp_path: Path) -> None:
    import_videos(folder, tmp_path / "one", frames=8, processes=1)
    assert contents(tmp_path / "one") == contents(shards)


def test_shards_that_are_gone_or_of_a_killed_run(folder: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    shutil.copy(out / "8x48x80/shard-000000.tar", out / "8x48x80/shard-000001.tar")
    (out / "8x48x80/.shard-000001.tar.77.partial").touch()
    (out / "parts/begun").write_text("8x48x80/shard-000000.tar\n8x48x80/shard-000001.tar\n")
    (out / "8x80x48/shard-000000.tar").unlink()
    done = import_videos(folder, out, frames=8, processes=1)
    assert (done.clips, done.imported) == (11, 7)
    assert contents(out) == contents(shards)
    (out / "8x48x80/shard-000000.tar").write_bytes(b"")
    lost = tmp_path / "fewer"
    lost.mkdir()
    shutil.copy(folder / "a.mp4", lost)
    with pytest.raises(
        ValueError, match=r"shard-000000\.tar is missing or damaged, and so is .*; put it back, or"
    ):
        import_videos(lost, out, frames=8)


def test_a_flipped_byte_is_written_again(folder: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    damaged = bytearray((out / "8x48x80/shard-000000.tar").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (out / "8x48x80/shard-000000.tar").write_bytes(damaged)
    assert import_videos(folder, out, frames=8, processes=1).imported > 0
    assert contents(out) == contents(shards)


def test_videos_may_be_imported_into_their_own_folder_time_and_again(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(folder / "a.mp4", own)
    first = import_videos(own, own, frames=8, processes=1)
    again = import_videos(own, own, frames=8, processes=1)
    assert (first.clips, first.imported) == (again.clips, 1) and again.imported == 0
    shutil.copy(folder / "a.mp4", own / "b.mp4")
    assert import_videos(own, own, frames=8, processes=1).clips == 2 * first.clips


def test_two_folders_are_not_mixed_into_one(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(folder / "a.mp4", tmp_path / name / f"{name}.mp4")
    out = tmp_path / "out"
    import_videos(tmp_path / "one", out, frames=8, processes=1)
    before = contents(out)
    with pytest.raises(ValueError, match=r"it holds clips of one\.mp4, 1 in all, and none of them is here"):
        import_videos(tmp_path / "two", out, frames=8, processes=1)
    assert contents(out) == before


def test_small_parts_and_shards(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CLIPS_PER_SHARD", 2)
    monkeypatch.setattr(importing, "CLIPS_PER_PART", 4)
    done = import_videos(folder, tmp_path / "out", frames=8, processes=1)
    parts = [json.loads(path.read_text()) for path in sorted((tmp_path / "out/parts").iterdir())]
    assert done.clips == 11 and len(parts) == 2
    names = [tuple(shard) for part in parts for shard in part["shards"]]
    assert len(set(names)) == len(names) and sum(count for _, count in names) == 11
    assert [len(ShardedClips(tmp_path / "out" / size)) for size in ("8x48x80", "8x80x48")] == [10, 1]


def test_what_is_there_is_not_mixed_with_something_else(folder: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"holds clips that were made otherwise \(.*'frames': 8.*'frames': 4"
    ):
        import_videos(folder, shards, frames=4)
    out, changed = tmp_path / "shards", tmp_path / "videos"
    shutil.copytree(shards, out)
    shutil.copytree(folder, changed)
    (changed / "a.txt").write_text("another caption")
    with pytest.raises(
        ValueError, match=r"a\.mp4 or its caption has changed since its clips were written to"
    ):
        import_videos(changed, out, frames=8)
    with open(out / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="Another import is writing to"):
            import_videos(folder, out, frames=8)
    (out / "parts/part-000000.json").write_text("{")
    with pytest.raises(
        ValueError, match=r"part-000000\.json is damaged .*\. Delete it, and its recordings are"
    ):
        import_videos(folder, out, frames=8)
    (out / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged\. Choose another folder"):
        import_videos(folder, out, frames=8)
    (out / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds shards without a config\.json"):
        import_videos(folder, out, frames=8)
    with pytest.raises(ValueError, match="processes must be at least 1; got 0"):
        import_videos(folder, tmp_path / "new", processes=0)
    assert not (tmp_path / "new").exists()


def test_pictures_and_squares(tmp_path: Path) -> None:
    write(tmp_path / "in/a.mp4", ball(8))
    Image.fromarray(next(ball(1))).save(tmp_path / "in/still.png")
    done = import_videos(tmp_path / "in", tmp_path / "out", frames=8, images=True, square=True, size=32)
    assert done.buckets == (("1x32x32", 1), ("8x32x32", 1)) and done.dropped == ()


def test_a_name_that_is_not_utf_8_is_imported_like_any_other(tmp_path: Path) -> None:
    write(tmp_path / "in/a.mp4", ball(8))
    os.rename(tmp_path / "in/a.mp4", os.fsencode(tmp_path / "in") + b"/caf\xe9.mp4")
    write(tmp_path / "in/b.mp4", ball(8))
    done = import_videos(tmp_path / "in", tmp_path / "out", frames=8, processes=1)
    again = import_videos(tmp_path / "in", tmp_path / "out", frames=8, processes=1)
    assert done.clips == again.clips == 2 and again.imported == 0


def test_lerobot_becomes_clips(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "in")
    done = import_videos(tmp_path / "in", tmp_path / "out", frames=8, processes=1)
    assert done.clips == 4 and [kind for kind, _ in done.dropped] == ["no such file"]
    source = ShardedClips(tmp_path / "out")
    assert [entry.caption for entry in source.index.entries] == ["push the ball"] * 2 + [
        "push the ball, then stop"
    ] * 2
    part = json.loads((tmp_path / "out/parts/part-000000.json").read_text())
    np.testing.assert_allclose([item["starts"] for item in part["recordings"]], [[0, 0.32]] * 2, atol=1e-6)


class CrashOnB(LocalEngine):
    def run_guarded(self, work, tasks, seconds, megabytes):
        for task, _ in super().run_guarded(work, tasks, seconds, megabytes):
            yield task, "decoder crashed: SIGSEGV" if task.recording.name == "b.mp4" else None


def test_a_decoder_that_crashes_leaves_its_good_part(tmp_path: Path) -> None:
    write(tmp_path / "in/a.mp4", ball(8))
    write(tmp_path / "in/b.mp4", ball(8))
    done = import_videos(tmp_path / "in", tmp_path / "out", frames=8, engine=CrashOnB(1))
    assert done.clips == 2 and dropped(tmp_path / "out") == [("b.mp4", "0.000", "decoder crashed: SIGSEGV")]


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    videos = tmp_path / "in"
    write(videos / "short.mp4", ball(3))
    for name in ("a.mp4", "b.mp4"):
        (videos / name).touch()
    with pytest.raises(SystemExit) as stop:
        cli.main(["data", "import", str(videos), "--out", str(tmp_path / "out"), "--processes", "1"])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2
    assert "Not one clip of the 3 recordings of" in error and "(empty 2, too short 1)" in error
    assert len(dropped(tmp_path / "out")) == 3


def test_the_command_line(folder: Path, shards: Path, capsys: pytest.CaptureFixture) -> None:
    cli.main(["data", "import", str(folder), "--out", str(shards), "--frames", "8"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert "11 clips (8x48x80: 10, 8x80x48: 1) of 4 recordings in" in lines[-3] and "0 read now" in lines[-3]
    assert lines[-2] == (
        "8 of 11 clips have a caption. 2 of 7 recordings have a caption: 2 by files beside them."
    )
    assert "Left out: empty 1" in lines[-1] and "dropped.csv" in lines[-1]
    cli.main(["data", "--help"])
    assert "import" in capsys.readouterr().out
    for words, message in (
        (["data", "dance"], "worldgen data has no command 'dance'; it has import, show."),
        (["data", "import", str(folder / "none"), "--out", "x"], "No folder of videos at"),
        (["data", "show", str(folder / "none")], "No folder of shards at"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 2 and message in capsys.readouterr().err


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    folder: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shards"
    words = ["data", "import", str(folder), "--out", str(out), "--frames", "8", "--processes", "1"]
    child = subprocess.Popen([sys.executable, "-m", "worldgen", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    begun = time.monotonic()
    while time.monotonic() - begun < 300 and child.poll() is None:
        if len(list((out / ".spool").glob("*"))) >= 2:  # in the midst of it
            os.kill(child.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    child.wait()
    assert import_videos(folder, out, frames=8, processes=1).clips == 11
    assert contents(out) == contents(shards)


def test_sound_is_kept_with_the_clips_that_it_belongs_to(tmp_path):
    from worldgen.audio.mux import add_track
    from worldgen.data.media import write_video
    from worldgen.data.sources import ShardedClips

    (tmp_path / "in").mkdir()
    for name in ("heard", "mute"):
        write_video(tmp_path / "in" / f"{name}.mp4", torch.rand(32, 3, 32, 32), 16.0)
    sound = torch.zeros(32_000)
    sound[24_000] = 0.9  # at 1.5 s, half a second into the second clip
    add_track(tmp_path / "in" / "heard.mp4", sound)
    import_videos(tmp_path / "in", tmp_path / "out", 32, 16, processes=1)
    clips = ShardedClips(tmp_path / "out")
    found = {clips.name(index): clips[index].sound for index in range(len(clips))}
    assert sorted(one is None for one in found.values()) == [False, False, True, True]
    heard = [one[0] for one in found.values() if one is not None]
    assert all(len(one) == 16_000 for one in heard)
    quiet, loud = sorted(heard, key=lambda one: float(one.abs().max()))
    assert quiet.abs().max() < 0.05
    assert abs(int(loud.abs().argmax()) - 8000) <= 2


def test_a_clip_whose_sound_cannot_be_read_is_kept_silent_and_listed(tmp_path):
    from tests.data.reading.test_sound import film
    from worldgen.data.sources import ShardedClips

    (tmp_path / "in").mkdir()
    film(tmp_path / "in" / "a.mkv", 8000, "stereo", "pcm_f32le", click=2.0, loud=np.nan)
    done = import_videos(tmp_path / "in", tmp_path / "out", 32, 10, processes=1)
    assert (done.clips, done.recordings, done.dropped) == (3, 1, (("sound", 1),))
    clips = ShardedClips(tmp_path / "out")
    assert [clips[index].sound is None for index in range(3)] == [False, False, True]
    (row,) = csv.DictReader((tmp_path / "out/dropped.csv").read_text().splitlines())
    assert row["start"] == "2.000" and "samples are NaN or infinite" in row["reason"]
    assert row["reason"].endswith("the clip is kept, and is silent")
