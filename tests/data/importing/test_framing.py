import math

import numpy as np
import pytest
import torch

from worldgen.data.importing.framing import ClipCutter, bucket_sizes, choose_bucket, fit_frame, natural_rate
from worldgen.data.videos import crop_and_resize


@pytest.mark.parametrize("size", [64, 128, 256, 480])
@pytest.mark.parametrize("multiple", [8, 16])
def test_buckets_have_about_equal_areas_and_sides_that_divide(size: int, multiple: int) -> None:
    sizes = bucket_sizes(size, multiple=multiple)
    middle = len(sizes) // 2
    assert sizes[middle] == (size, size) and len(set(sizes)) == len(sizes) >= 3
    for rows, columns in sizes:
        assert rows % multiple == 0 and columns % multiple == 0
        assert abs(rows * columns / size**2 - 1) < 0.07
    assert sizes[middle + 1 :] == tuple((rows, columns) for columns, rows in sizes[middle - 1 :: -1])
    assert bucket_sizes(size, square=True, multiple=multiple) == ((size, size),)


def test_buckets_at_64() -> None:
    assert bucket_sizes(64, multiple=8) == ((88, 48), (72, 56), (64, 64), (56, 72), (48, 88))
    assert bucket_sizes(64) == ((80, 48), (64, 64), (48, 80)), "two aspect ratios have one bucket"
    for size in (0, -16, 72):
        with pytest.raises(ValueError, match=rf"size must be a positive multiple of 16.*; got {size}\. Cho"):
            bucket_sizes(size)
    with pytest.raises(ValueError, match="multiple must be at least 1; got 0"):
        bucket_sizes(64, multiple=0)


@pytest.mark.parametrize(
    "shape, wanted",
    [
        ((1080, 1920), (48, 88)),
        ((480, 640), (56, 72)),
        ((65, 49), (72, 56)),
        ((100, 103), (64, 64)),
        ((9, 99), (48, 88)),
    ],
)
def test_the_nearest_bucket_is_chosen(shape: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert choose_bucket(shape[1] / shape[0], bucket_sizes(64, multiple=8)) == wanted


def test_a_square_frame_is_fitted_as_a_video_folder_does_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    wanted = crop_and_resize(torch.from_numpy(image).permute(2, 0, 1).float() / 255, 32)
    got = torch.from_numpy(fit_frame(image, (32, 32))).permute(2, 0, 1) / 255
    torch.testing.assert_close(got, wanted, rtol=0, atol=1.5 / 255)


def test_the_middle_is_kept_and_circles_stay_circles() -> None:
    rows, columns = np.mgrid[:120, :300]
    disc = ((rows - 59.5) ** 2 + (columns - 149.5) ** 2 < 50**2)[..., None] * np.full(3, 255, np.uint8)
    got = fit_frame(disc.astype(np.uint8), (48, 88))[..., 0] > 127
    height, width = got.any(1).sum(), got.any(0).sum()
    assert abs(height - width) <= 1 and abs(height - 40) <= 1
    np.testing.assert_array_equal(got, got[::-1])
    np.testing.assert_array_equal(got, got[:, ::-1])


def test_natural_rate() -> None:
    even = np.arange(100) / 30
    assert natural_rate(even) == pytest.approx(30)
    assert natural_rate(np.round(even, 3)) == pytest.approx(30, rel=1e-3)
    assert natural_rate(np.round(even, 3), declared=30.0) == 30.0
    assert natural_rate(even, declared=25.0) == pytest.approx(30), "a header that is wrong"
    assert natural_rate(np.delete(even, [10, 40, 41])) == pytest.approx(30), "lost frames are gaps"
    uneven = np.cumsum(np.tile([0.04, 0.04, 0.08], 30))
    assert natural_rate(uneven) == pytest.approx(12.5), "no frame is shown twice"
    assert natural_rate([0.0]) is None and natural_rate([]) is None and natural_rate([1.0, 1.0]) is None


def cutter(fps: float, frames: int, stride: int) -> ClipCutter[int]:
    return ClipCutter(fps, frames, stride, lambda number: np.full((1, 1, 3), number, np.uint8))


def numbers(clips: list) -> list[tuple[float, list[int]]]:
    return [(round(start, 6), frames[:, 0, 0, 0].tolist()) for start, frames in clips]


def run(cut: ClipCutter[int], times: list[float]) -> list[tuple[float, list[int]]]:
    clips = []
    for number, seconds in enumerate(times):
        assert not cut.is_gap(seconds)
        clips += cut.feed(seconds, number)
    return numbers(clips + cut.cut())


def test_clips_one_after_another_overlapping_and_apart() -> None:
    times = [2 + number / 10 for number in range(11)]
    assert run(cutter(10, 4, 4), times) == [(2.0, [0, 1, 2, 3]), (2.4, [4, 5, 6, 7])]
    assert run(cutter(10, 4, 3), times) == [(2.0, [0, 1, 2, 3]), (2.3, [3, 4, 5, 6]), (2.6, [6, 7, 8, 9])]
    assert run(cutter(10, 4, 6), times) == [(2.0, [0, 1, 2, 3]), (2.6, [6, 7, 8, 9])]
    assert run(cutter(10, 11, 11), times) == [(2.0, list(range(11)))], "the last frame counts"


def test_each_sample_is_the_nearest_frame_in_time() -> None:
    random = np.random.default_rng(1)
    times = np.cumsum(random.uniform(0.02, 0.05, 60))
    times -= times[0]
    [(start, got)] = run(cutter(20, 30, 30), times.tolist())[:1]
    wanted = [int(np.abs(times - k / 20).argmin()) for k in range(30)]
    assert (start, got) == (0.0, wanted)
    assert len(set(got)) == 30, "none is shown twice"


def test_gaps_are_seen_and_a_cut_begins_anew() -> None:
    cut = cutter(10, 2, 2)
    assert not cut.is_gap(7.0), "the first frame"
    assert cut.feed(0.0, 0) == [] and cut.time == 0.0
    assert not cut.is_gap(0.149) and cut.is_gap(0.151) and cut.is_gap(-0.01)
    assert cut.cut() == [] and (cut.samples, cut.clips) == (1, 0)
    cut.begin_stretch()
    assert numbers(cut.feed(5.0, 7) + cut.feed(5.1, 8) + cut.cut()) == [(5.0, [7, 8])]
    assert (cut.samples, cut.clips, cut.begin) == (2, 1, 5.0)
    assert math.isclose(cut.fps, 10)
