"""Files as cameras, browsers and editors write them, and what of them is shown."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.data.videos import ball, ball_column, remux, turn_matrix, write
from worldgen.data.importing.reading import CutClip, CutRule, cut_recording
from worldgen.data.importing.recordings import Recording
from worldgen.data.media import iterate_frames, read_video, video_timing
from worldgen.data.videos import VideoReader

RULE = CutRule(size=64, frames=8, fps=None, stride=8, square=False, background=255)
ONE = Fraction(1, 25)


def encode(path: Path, codec: str, options: dict[str, str], frames: int = 30, **changes: object) -> Path:
    """The ball, with B-frames where the codec has them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = options
        for name, value in changes.items():
            setattr(stream.codec_context, name, value)
        for image in ball(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def shown(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Which image of `ball` each frame is, and when it is shown."""
    found = [(ball_column(image) - 8, seconds) for image, seconds in iterate_frames(path)]
    return np.array([number for number, _ in found]), np.array([seconds for _, seconds in found])


def reordered(tmp_path: Path) -> Path:
    return encode(tmp_path / "b.mp4", "libx264", {"bf": "3", "b_strategy": "0", "crf": "10"})


def packed(path: Path, whole: Path, alone: int) -> Path:
    """An avi as DivX and XviD write it: B-frames share a packet with the frame before, the next one is empty.

    Args:
        path: Of the result.
        whole: MPEG-4 with single B-frames, one frame a packet.
        alone: Frame that keeps a packet of its own, and so does the B-frame after it.
    """
    vop, place = b"\0\0\1\xb6", 0
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        frames = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        frames[0] = frames[0].replace(vop, b"\0\0\1\xb2DivX503b1393p" + vop, 1)
        bidirectional = [frame[frame.index(vop) + 4] >> 6 == 2 for frame in frames]
        assert sum(bidirectional) > 10
        while place < len(frames):
            together = place != alone and bidirectional[place + 1 : place + 2] == [True]
            bodies = [frames[place] + frames[place + 1], vop + b"WS"] if together else [frames[place]]
            for number, body in enumerate(bodies):
                packet = av.Packet(body)
                packet.stream, packet.time_base, packet.is_keyframe = stream, ONE, place == 0
                packet.pts = packet.dts = place + number
                target.mux(packet)
            place += len(bodies)
    return path


def from_storage(_: int, packet: av.Packet) -> bool:
    packet.pts = packet.dts
    return True


@pytest.mark.parametrize("name", ["b.avi", "b.mkv", "b.mp4"])
def test_frames_come_in_the_order_in_which_they_are_shown(tmp_path: Path, name: str) -> None:
    """An avi has no stamps, an mkv has those of storage: four of fifteen steps went backward."""
    if name == "b.mkv":
        path = remux(reordered(tmp_path), tmp_path / name, from_storage)
    else:
        path = encode(tmp_path / name, "libx264", {"bf": "3", "b_strategy": "0", "crf": "10"})
    numbers, times = shown(path)
    np.testing.assert_allclose(numbers, np.arange(30), atol=0.3)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-6)
    assert VideoReader().read(path).fps.item() == pytest.approx(25)
    assert video_timing(path) == (30, pytest.approx(25))
    pieces = list(cut_recording(Recording(name, path), RULE))
    assert [piece.frames.shape[0] for piece in pieces if isinstance(piece, CutClip)] == [8, 8, 8]
    assert len(pieces) == 3, "nothing is dropped"


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "packed"])
@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
@pytest.mark.parametrize("between", ["1", "2"])
def test_b_frames_of_every_kind_are_shown_in_order(
    tmp_path: Path, codec: str, suffix: str, between: str
) -> None:
    """Of packed MPEG-4 ffmpeg makes stamps up, one of them after the next, and the file was refused."""
    options = {"bf": between, "b_strategy": "0", "qmin": "2", "qmax": "3", "flags": "+bitexact"}
    if codec == "packed":
        whole = encode(tmp_path / "whole.avi", "mpeg4", {**options, "bf": "1"}, gop_size=100)
        path = packed(tmp_path / f"b.{suffix}", whole, alone=3 if between == "1" else 13)
    else:
        path = encode(tmp_path / f"b.{suffix}", codec, options)
    numbers, times = shown(path)
    np.testing.assert_allclose(numbers, np.arange(30), atol=0.3)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1.1e-3 if suffix == "mkv" else 1e-6)
    assert VideoReader().read(path).fps.item() == pytest.approx(25)
    assert video_timing(path) == (30, pytest.approx(25))
    pieces = list(cut_recording(Recording("b", path), RULE))
    assert [isinstance(piece, CutClip) for piece in pieces] == [True] * 3, "nothing is dropped"


def test_a_frame_that_avi_repeats_is_a_gap_and_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "gap.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, image in enumerate(ball(20)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base, frame.pts = ONE, number + 2 * (number >= 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert np.isclose(np.diff(shown(path)[1]), 0.04).sum() == 18
    _, grid = VideoReader().read_on_grid(path)
    assert grid.rate == pytest.approx(25) and grid.lost == 2


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_an_edit_list_shows_less_than_the_file_holds(tmp_path: Path, suffix: str) -> None:
    whole = write(tmp_path / "whole.mp4", ball(46), key_every=12)

    def trim(_: int, packet: av.Packet) -> bool:
        first = round(5 * ONE / packet.time_base)
        packet.pts, packet.dts = packet.pts - first, packet.dts - first
        return packet.pts * packet.time_base < 34 * ONE

    path = remux(whole, tmp_path / f"edited.{suffix}", trim)
    numbers, times = shown(path)
    np.testing.assert_allclose(numbers, 5 + np.arange(34), atol=0.3)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-6)
    assert all(isinstance(piece, CutClip) for piece in cut_recording(Recording("a", path), RULE))


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mkv"), ("mpeg4", "avi"), ("mjpeg", "avi")])
def test_damage_is_no_motion(tmp_path: Path, codec: str, suffix: str) -> None:
    rule = np.random.default_rng(0)
    images = [
        np.clip(image + rule.integers(-20, 20, image.shape), 0, 255).astype(np.uint8) for image in ball(30)
    ]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write(tmp_path / f"a.{suffix}", images, codec, pixels)
    with av.open(str(path)) as container:
        body = [bytes(packet) for packet in container.demux(video=0) if packet.size][16]
    data = bytearray(path.read_bytes())
    start = data.index(body) + len(body) // 3
    data[start : start + len(body) // 2] = b"\xff" * (len(body) // 2)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\.{suffix} is damaged after 1\d frames, at 0\..*guessed"):
        list(iterate_frames(path))
    assert len(VideoReader(most=10).read(path).frames[0]) == 10, "what comes before is whole"


def test_a_packet_that_is_not_there_damages_what_refers_to_it(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mkv", ball(40), key_every=20)
    path = remux(whole, tmp_path / "a.mkv", lambda number, _: number not in (15, 16))
    with pytest.raises(
        ValueError, match=r"a\.mkv is damaged after 1\d frames.*a frame that others need is not"
    ):
        list(iterate_frames(path))
    pieces = list(cut_recording(Recording("a", path), RULE))
    assert [piece.start for piece in pieces if isinstance(piece, CutClip)] == pytest.approx([0, 0.8, 1.12])


def test_a_recording_begins_at_its_first_key_frame(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.ts", ball(40), key_every=12)
    path = remux(whole, tmp_path / "a.ts", lambda number, _: number >= 7)
    np.testing.assert_allclose(shown(path)[0], np.arange(12, 40), atol=0.3)


def test_pixels_are_shown_square(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.mp4", ball(6), ratio=Fraction(2))
    image, _ = next(iterate_frames(wide))
    rows, columns = np.nonzero(image[..., 0] > 160)
    assert image.shape == (48, 128, 3)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(2, abs=0.15), "the disc of the file is an ellipse"
    high = write(tmp_path / "high.mp4", ball(6), ratio=Fraction(1, 2))
    assert next(iterate_frames(high))[0].shape == (48, 32, 3)
    assert next(iterate_frames(turn_matrix(wide, 0, 1, -1, 0)))[0].shape == (128, 48, 3)
    [clip] = cut_recording(Recording("a", write(tmp_path / "w.mp4", ball(8), ratio=Fraction(4, 3))), RULE)
    assert isinstance(clip, CutClip)
    assert clip.frames.shape == (8, 48, 80, 3)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
    ],
)
def test_marks_of_rotations_and_mirrors(tmp_path: Path, matrix: tuple[int, ...], turned) -> None:
    path = write(tmp_path / "a.mp4", ball(2))
    plain, _ = next(iterate_frames(path))
    image, _ = next(iterate_frames(turn_matrix(path, *matrix)))
    np.testing.assert_array_equal(image, turned(plain))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le"])
def test_white_is_white_and_black_is_black(tmp_path: Path, pixels: str) -> None:
    image = np.full((48, 64, 3), 255, np.uint8)
    image[:24] = 0
    path = write(tmp_path / "a.mkv", [image], "ffv1", pixels)
    found, _ = next(iterate_frames(path))
    assert found[30:].min() == 255 and found[:20].max() == 0


def test_transparency_of_vp9_is_filled(tmp_path: Path) -> None:
    clear = [np.dstack([image, np.zeros((48, 64), np.uint8)]) for image in ball(4)]
    path = write(tmp_path / "a.webm", clear, "libvpx-vp9", "yuva420p")
    assert next(iterate_frames(path))[0].min() >= 250


def test_a_gif_holds_its_last_frame(tmp_path: Path) -> None:
    images = [Image.fromarray(image) for image in ball(8)]
    path = tmp_path / "a.gif"
    images[0].save(path, save_all=True, append_images=images[1:], duration=[40] * 7 + [1800])
    assert len(read_video(path)[0]) == 8 and VideoReader().read(path).fps.item() == pytest.approx(25)
    assert [piece.frames.shape[0] for piece in cut_recording(Recording("a.gif", path), RULE)] == [8]


@pytest.mark.parametrize("first", ["preview", "cover"])
def test_the_stream_that_players_show(tmp_path: Path, first: str) -> None:
    path = tmp_path / ("a.mp4" if first == "cover" else "a.mkv")
    with av.open(str(path), "w") as container:
        small = container.add_stream("mjpeg" if first == "cover" else "libx264", rate=25)
        small.width, small.height = (320, 240) if first == "cover" else (16, 16)
        small.pix_fmt = "yuvj420p" if first == "cover" else "yuv420p"
        large = container.add_stream("libx264", rate=25)
        large.width, large.height, large.pix_fmt = 64, 48, "yuv420p"
        if first == "cover":
            small.disposition = av.stream.Disposition.attached_pic
        else:
            small.disposition = av.stream.Disposition(0)
            large.disposition = av.stream.Disposition.default
        for number, image in enumerate(ball(12)):
            if first == "preview" or number == 0:
                gray = np.full((small.height, small.width, 3), 90, np.uint8)
                container.mux(small.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
            container.mux(large.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(small.encode())
        container.mux(large.encode())
    np.testing.assert_allclose(shown(path)[0], np.arange(12), atol=0.3)


@pytest.mark.parametrize(
    ("name", "codec", "options", "changes", "why"),
    [
        ("a.ts", "mpeg2video", {"flags": "+ildct+ilme"}, {}, "interlaced: two moments are in each frame"),
        ("hlg.mkv", "libx264", {}, {"color_trc": 18}, r"HDR \(HLG\): convert it"),
        ("pq.mkv", "libx264", {}, {"color_trc": 16}, r"HDR \(PQ\): convert it"),
    ],
)
def test_frames_that_are_no_plain_pictures_are_refused(
    tmp_path: Path, name: str, codec: str, options: dict, changes: dict, why: str
) -> None:
    path = encode(tmp_path / name, codec, options, 10, **changes)
    with pytest.raises(ValueError, match=rf"{name} cannot be judged as it is; {why}"):
        list(iterate_frames(path))
    [drop] = cut_recording(Recording(name, path), RULE)
    assert drop.start is None and drop.kind in ("interlaced", "HDR (HLG)", "HDR (PQ)")
