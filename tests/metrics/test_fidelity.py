"""Fidelity: parity with a library, closed forms, and what each number is worth for a frozen clip."""

import pytest
import torch

from tests.tiny import random_alexnet
from worldgen.metrics.fidelity import (
    PerceptualDistance,
    dynamic_degree,
    match_frames,
    psnr,
    ssim,
    temporal_flicker,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def smooth(frames: int, size: int = 64, step: int = 0) -> torch.Tensor:
    """Texture that moves ``step`` pixels to the right from frame to frame, as (1 T 3 H W)."""
    wide = noise(1, 3, size, size + 8 * frames * max(step, 1), seed=3)
    wide = torch.nn.functional.avg_pool2d(wide, 3, 1, 1)
    views = [wide[..., (frames - index) * step : (frames - index) * step + size] for index in range(frames)]
    return torch.cat(views)[None]


def test_ssim_equals_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    true = noise(2, 3, 3, 24, 33)
    frames = (true + 0.2 * noise(2, 3, 3, 24, 33, seed=1)).clamp(0, 1)
    for one, two, own in zip(frames, true, ssim(frames, true), strict=True):
        _, theirs = functional.structural_similarity_index_measure(
            one, two, data_range=1.0, return_full_image=True
        )
        inside = theirs[..., 5:-5, 5:-5]  # theirs goes on beyond the border, as in a mirror
        torch.testing.assert_close(own, inside.mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ssim(true, true), torch.ones(2))


def test_ssim_refuses_frames_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 pixels; got \\(10, 24\\)"):
        ssim(noise(1, 2, 3, 10, 24), noise(1, 2, 3, 10, 24))
    with pytest.raises(ValueError, match="must have one shape"):
        ssim(noise(1, 2, 3, 12, 24), noise(1, 3, 3, 12, 24))


def test_psnr_equals_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    frames, true = noise(1, 2, 3, 8, 8), noise(1, 2, 3, 8, 8, seed=1)
    theirs = functional.peak_signal_noise_ratio(frames, true, data_range=1.0)
    torch.testing.assert_close(psnr(frames, true)[0], theirs)


def test_flicker_is_the_mean_change_and_one_for_stillness():
    frames = torch.zeros(2, 3, 3, 4, 4)
    frames[1, 1] = 0.5  # there and back
    torch.testing.assert_close(temporal_flicker(frames), torch.tensor([1.0, 0.5]))
    with pytest.raises(ValueError, match="at least two frames; got 1"):
        temporal_flicker(frames[:, :1])


@pytest.mark.parametrize("step", [0, 2, 5])
def test_matching_finds_a_shift(step):
    flow = match_frames(smooth(3, step=step)[0])
    inside = flow[:, :, 8:-8, 12:-12]
    assert inside.shape[:2] == (2, 2)
    torch.testing.assert_close(inside[:, 0], torch.full_like(inside[:, 0], float(step)))
    torch.testing.assert_close(inside[:, 1], torch.zeros_like(inside[:, 1]))


def test_matching_counts_pixels_of_the_frames_as_given():
    large = torch.nn.functional.interpolate(smooth(2, step=2)[0], scale_factor=4, mode="nearest")
    torch.testing.assert_close(match_frames(large)[:, 0].median(), torch.tensor(8.0))
    with pytest.raises(ValueError, match="two frames; got 1"):
        match_frames(large[:1])


def test_dynamic_degree_follows_the_threshold():
    """At 64 pixels a pair moves from more than 1.5 pixels on, in an eighth of a second."""
    fast, slow, still = (smooth(8, step=step) for step in (2, 1, 0))
    eight = torch.full((3,), 8.0)
    assert dynamic_degree(torch.cat([fast, slow, still]), eight).tolist() == [True, False, False]
    # The slow one at twice the rate is looked at every other frame, and covers 2 pixels in between.
    assert dynamic_degree(slow, 2 * eight[:1]).tolist() == [True]
    # One moving pair of eight frames is too few: two are asked for.
    jerk = torch.cat([still[:, :7], still[:, :1].roll(3, dims=-1)], dim=1)
    assert dynamic_degree(jerk, eight[:1]).tolist() == [False]
    with pytest.raises(ValueError, match="two frames at 8 per second"):
        dynamic_degree(still[:, :2], 8 * eight[:1])


def test_perceptual_distance_loads_the_weights_that_it_is_given(tmp_path):
    pytest.importorskip("torchmetrics")
    path, state = tmp_path / "alexnet.pth", random_alexnet()
    torch.save(state, path)
    distance = PerceptualDistance(path)
    torch.testing.assert_close(distance.network.net.slice3[1].weight, state["features.6.weight"])
    true = noise(2, 2, 3, 64, 64)
    near, far = (true + 0.05).clamp(0, 1), noise(2, 2, 3, 64, 64, seed=7)
    torch.testing.assert_close(distance(true, true), torch.zeros(2))
    assert (distance(near, true) < distance(far, true)).all() and (distance(near, true) > 0).all()
    assert (distance(far[..., :31], true[..., :31]) > 0).all()  # the smallest that the network can look at
    with pytest.raises(ValueError, match=r"LPIPS needs frames of at least 31 pixels; got \(64, 30\)"):
        distance(far[..., :30], true[..., :30])


def test_perceptual_distance_says_what_is_missing(tmp_path):
    pytest.importorskip("torchmetrics")
    with pytest.raises(FileNotFoundError, match="LPIPS is left out. Give torchvision's alexnet"):
        PerceptualDistance(tmp_path / "nowhere.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes(b"cut")
    (tmp_path / "torn.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:-100])
    for name in ("other.pth", "cut.pth", "torn.pth"):
        with pytest.raises(ValueError, match="must hold torchvision's AlexNet; LPIPS is left out"):
            PerceptualDistance(tmp_path / name)
