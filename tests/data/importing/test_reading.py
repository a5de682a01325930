from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.videos import ball, ball_column, claim_size, huge_gif, huge_png, raw_avi, turn_header, write
from worldgen.data.importing.reading import CutClip, CutRule, cut_recording
from worldgen.data.importing.recordings import Drop, Recording

STEP = 56 / 48
"""Pixels of the 56 x 72 bucket per pixel of the ball's 48 x 64."""


def rule(**changes: object) -> CutRule:
    return CutRule(
        **{"size": 64, "frames": 8, "fps": None, "stride": 8, "square": False, "background": 255}
        | {"multiple": 8, **changes}
    )


def cut(path: Path, begin: float | None = None, end: float | None = None, **changes: object):
    pieces = list(cut_recording(Recording(path.name, path, begin=begin, end=end), rule(**changes)))
    clips = [piece for piece in pieces if isinstance(piece, CutClip)]
    return clips, [piece for piece in pieces if isinstance(piece, Drop)]


def columns(clip: CutClip) -> np.ndarray:
    return np.array([ball_column(frame) for frame in clip.frames])


def expected(first: float, count: int = 8, step: float = 1.0) -> np.ndarray:
    """Columns of the ball in the bucket, from its column in the video."""
    return (first + step * np.arange(count) + 0.5) * STEP - (64 * STEP - 72) / 2 - 0.5


@pytest.mark.parametrize(
    "name, codec, pixels",
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("ten.mp4", "libx264", "yuv420p10le"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("deep.mkv", "ffv1", "yuv444p10le"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_every_wrapping_gives_the_same_motion(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    clips, drops = cut(write(tmp_path / name, ball(20), codec, pixels))
    assert drops == [] and [clip.start for clip in clips] == pytest.approx([0, 0.32])
    for number, clip in enumerate(clips):
        assert clip.frames.shape == (8, 56, 72, 3) and clip.frames.dtype == np.uint8
        assert clip.fps == pytest.approx(25)
        np.testing.assert_allclose(columns(clip), expected(8 + 8 * number), atol=0.8)
        ground = clip.frames[0, 4, 4]
        np.testing.assert_allclose(ground.astype(int), [80, 80, 65], atol=26 if codec == "gif" else 8)


def test_a_varying_rate_becomes_constant(tmp_path: Path) -> None:
    times = np.cumsum([0.0] + [0.04, 0.04, 0.08] * 10).tolist()  # the ball moves by frames, not by time
    [first, *_], drops = cut(write(tmp_path / "vfr.mp4", ball(31), times=times))
    assert drops == [] and first.fps == pytest.approx(12.5)
    nearest = [int(np.abs(np.array(times) - k / 12.5).argmin()) for k in range(8)]
    assert len(set(nearest)) == 8
    wanted = (8 + np.array(nearest) + 0.5) * STEP - (64 * STEP - 72) / 2 - 0.5
    np.testing.assert_allclose(columns(first), wanted, atol=0.8)


def test_a_rate_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", ball(40))
    clips, drops = cut(path, fps=12.5)
    assert drops == [] and [clip.start for clip in clips] == pytest.approx([0, 0.64])
    np.testing.assert_allclose(columns(clips[1]), expected(8 + 16, step=2.0), atol=0.8)
    clips, drops = cut(path, fps=50)
    assert clips == [] and drops == [
        Drop("a.mp4", None, "low frame rate: 25 frames per second, fewer than the 50 asked for")
    ]


def test_no_clip_goes_over_a_gap(tmp_path: Path) -> None:
    times = [number * 0.04 + (number >= 13) for number in range(30)]
    clips, [drop] = cut(write(tmp_path / "gap.mp4", ball(30), times=times))
    assert [clip.start for clip in clips] == pytest.approx([0, 1.52, 1.84])
    np.testing.assert_allclose(columns(clips[1]), expected(8 + 13), atol=0.8)
    assert (drop.start, drop.kind) == (pytest.approx(0.48), "gap")


def test_a_rotation_mark_is_obeyed(tmp_path: Path) -> None:
    path = write(tmp_path / "phone.mp4", ball(8))
    turn_header(path)
    [clip], drops = cut(path)
    assert drops == [] and clip.frames.shape == (8, 72, 56, 3)
    rows = [ball_column(frame.swapaxes(0, 1)) for frame in clip.frames]
    np.testing.assert_allclose(rows, expected(8), atol=0.8)  # clockwise: from left to right is now downwards


def test_odd_sizes_and_pixels_that_are_not_square(tmp_path: Path) -> None:
    [clip], _ = cut(write(tmp_path / "odd.mp4", ball(8, 65, 49), pixels="yuv444p"))
    assert clip.frames.shape == (8, 72, 56, 3)
    [clip], _ = cut(write(tmp_path / "wide.mp4", ball(8), ratio=Fraction(4, 3)))
    assert clip.frames.shape == (8, 48, 88, 3), "64 x 48 pixels shown as 16:9"
    [clip], _ = cut(write(tmp_path / "a.mp4", ball(8)), square=True)
    assert clip.frames.shape == (8, 64, 64, 3)


@pytest.mark.parametrize(
    "name, codec, pixels",
    [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mkv", "ffv1", "bgra"), ("a.mov", "png", "rgba")],
)
def test_transparency_is_filled(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    images = []
    for image in ball(8):
        alpha = np.zeros((48, 64, 1), np.uint8)
        alpha[16:32] = 255  # a band that holds the ball
        alpha[32:40] = 128
        images.append(np.concatenate([image, alpha], axis=2))
    path = write(tmp_path / name, images, codec, pixels)
    for background in (255, 0):
        [clip], drops = cut(path, background=background)
        image = clip.frames[0, :, 60].astype(int)  # a column without the ball
        assert drops == []
        np.testing.assert_allclose(image[3], [background] * 3, atol=6)
        np.testing.assert_allclose(image[28, :2], [80, 80], atol=8)
        np.testing.assert_allclose(image[42, :2], [40 + background / 2] * 2, atol=10)


def test_pictures_are_clips_of_one_frame(tmp_path: Path) -> None:
    image = Image.fromarray(next(ball(1)))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95, subsampling=0)
    [clip], _ = cut(tmp_path / "turned.jpg")
    assert clip.frames.shape == (1, 72, 56, 3) and clip.fps == 1
    assert ball_column(clip.frames[0].swapaxes(0, 1)) == pytest.approx(expected(8)[0], abs=0.8)
    deep = np.full((16, 16), 51400, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    [clip], _ = cut(tmp_path / "deep.png")
    assert (clip.frames == 200).all()
    image.putalpha(Image.new("L", image.size, 0))
    image.save(tmp_path / "clear.png")
    [clip], _ = cut(tmp_path / "clear.png", background=30)
    assert (clip.frames == 30).all()


def test_what_is_no_video_is_dropped_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path / "short.mp4", ball(5))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("a ball falls " * 50)
    (tmp_path / "text.png").write_text("a ball falls " * 50)
    Image.fromarray(next(ball(1))).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:80])
    write(tmp_path / "thin.mkv", ball(8, 4, 64), "ffv1", "bgr0")
    with open(tmp_path / "none.avi", "wb") as file:
        file.write(write(tmp_path / "one.avi", ball(1), "mpeg4").read_bytes().replace(b"00dc", b"99zz"))
    huge_gif(tmp_path / "huge.gif")
    claim_size(write(tmp_path / "huge.mp4", ball(8)), 65535, 65535)
    huge_png(tmp_path / "huge.png")
    raw_avi(tmp_path / "huge.avi", 100_000, 100_000)
    raw_avi(tmp_path / "large.avi", 8000, 8000)
    wanted = {
        "short.mp4": "too short: 5 of the 8 frames of a clip at 25 per second",
        "empty.mp4": "empty: the file has 0 bytes",
        "text.mp4": "not a video: Invalid data found when processing input",
        "text.png": "not a picture: cannot identify image file",
        "cut.png": "not a picture: ",
        "thin.mkv": "too small: 64 x 4 pixels",
        "none.avi": "no frames: the file holds none",
        "huge.gif": "too large: 65535 x 65535 pixels, more than 40 million",
        "huge.png": "too large: Image size (10000000000 pixels)",
        "huge.mp4": "too large: 65535 x 65535 pixels, more than 40 million",
        "huge.avi": "no size: the header claims none that can be true",
        "large.avi": "too large: 8000 x 8000 pixels, more than 40 million",
    }
    for name, reason in wanted.items():
        clips, drops = cut(tmp_path / name)
        assert clips == [] and [drop.start for drop in drops] == [None], name
        assert drops[0].file == name and drops[0].reason.startswith(reason), drops
    [drop] = cut_recording(Recording("gone.mp4", tmp_path / "gone.mp4"), rule())
    assert drop == Drop("gone.mp4", None, "unreadable: No such file or directory")


def test_the_good_part_of_what_is_cut_off_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.webm", ball(40), "libvpx-vp9")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    clips, drops = cut(path)
    assert [drop.kind for drop in drops] == ["cut off"] and 0.3 < drops[0].start < 1.4
    assert 1 <= len(clips) < 5
    np.testing.assert_allclose(columns(clips[0]), expected(8), atol=0.8)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_damage_in_the_middle_is_cut_out(tmp_path: Path, codec: str) -> None:
    """Frame 16 is not there: what refers to it goes, up to the key frame 24."""
    path = write(tmp_path / "a.mkv", ball(48), codec, key_every=24)
    data = bytearray(path.read_bytes())
    sizes = packet_places(path)
    start, size = sizes[16]
    data[start + 6 : start + size] = b"\xff" * (size - 6)
    path.write_bytes(data)
    clips, drops = cut(path)
    assert [drop.kind for drop in drops] == ["damaged"]
    starts = [round(clip.start * 25) for clip in clips]
    assert starts == [0, 8, 24, 32, 40]
    for start, clip in zip(starts, clips, strict=True):
        np.testing.assert_allclose(columns(clip), expected(8 + start), atol=0.8)


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Offset and bytes of every packet in the file."""
    import av

    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return [(data.index(packet), len(packet)) for packet in packets]


def test_a_stretch_of_a_longer_video(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", ball(40), key_every=15)
    clips, drops = cut(path, begin=0.4, end=1.08)
    assert drops == [] and [clip.start for clip in clips] == pytest.approx([0, 0.32])
    np.testing.assert_allclose(columns(clips[0]), expected(8 + 10), atol=0.8)
    np.testing.assert_allclose(columns(clips[1]), expected(8 + 18), atol=0.8)
    clips, [drop] = cut(path, begin=1.4, end=1.6)
    assert clips == [] and drop.reason == "too short: 5 of the 8 frames of a clip at 25 per second"


def test_a_part_of_a_file(tmp_path: Path) -> None:
    video = write(tmp_path / "a.mp4", ball(8)).read_bytes()
    (tmp_path / "odd, name: 1.bin").write_bytes(b"x" * 700 + video + b"y" * 300)
    recording = Recording("x.tar!a.mp4", tmp_path / "odd, name: 1.bin", "", 700, len(video))
    [clip] = cut_recording(recording, rule())
    np.testing.assert_allclose(columns(clip), expected(8), atol=0.8)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"size": 60}, "size must be a positive multiple of 8"),
        ({"frames": 0}, "frames must be positive; got 0"),
        ({"fps": 0.0}, "fps must be positive; got 0.0"),
        ({"fps": float("nan")}, "fps must be positive; got nan"),
        ({"stride": -1}, "stride must be positive; got -1"),
        ({"background": 256}, "background must be a gray level from 0 to 255; got 256"),
    ],
)
def test_rules_that_make_no_sense(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule(**changes)
