"""Everything in a folder is a video, a text beside it, or named with a reason."""

from pathlib import Path

from PIL import Image

from worldgen.data.reading.folders import find_videos, list_passed_over


def test_every_ending_of_a_video_and_whatever_else_lies_there(tmp_path: Path) -> None:
    videos = [
        "a.mpg",
        "b.ts",
        "c.m2ts",
        "d.WMV",
        "e.flv",
        "f.3gp",
        "g.ogv",
        "h.mts",
        "i.m4v",
        "j.mxf",
        "k.mp4",
    ]
    for name in [*videos, "captions.csv", ".hidden.xyz", "l.tar.gz", "m.h264", "n.xyz", "o"]:
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "deeper")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    still, moving = Image.new("RGB", (8, 8)), [Image.new("RGB", (8, 8), (40 * k, 0, 0)) for k in range(3)]
    still.save(tmp_path / "still.webp")
    still.save(tmp_path / "still.png")
    for ending in ("webp", "png"):
        moving[0].save(tmp_path / f"moving.{ending}", save_all=True, append_images=moving[1:], duration=40)
    assert [path.name for path in find_videos(tmp_path)] == [*videos, "moving.png", "moving.webp"]
    assert {name: reason.partition(":")[0] for name, reason in list_passed_over(tmp_path)} == {
        "deeper": "folder",
        "linked": "folder",
        "gone.mp4": "dangling link",
        "l.tar.gz": "archive",
        "m.h264": "raw stream",
        "n.xyz": "unknown",
        "o": "unknown",
        "still.webp": "picture",
        "still.png": "picture",
    }
