from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.physics.slots import SlotReading
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.parts.reading_errors import reading_errors_of, true_places


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("collide", 3, frames=6)


def reading_of(clip, order=(0, 1)):
    pixels, half_size, _, _ = (values[:, :, list(order)] for values in true_places(clip))
    one = torch.ones(half_size.shape)
    return SlotReading(pixels.clone(), half_size.clone(), one, -4 * one, 0 * one[..., 0])


def test_places_are_where_the_masks_are(clip):
    pixels, half_size, share, metres = true_places(clip)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for thing in range(2):
        mask = clip.masks[0, 0, thing].float()
        middle = torch.stack([(mask * columns).sum(), (mask * rows).sum()]) / mask.sum()
        assert (middle - pixels[0, 0, thing]).abs().max() < 0.3
        assert (mask.sum() / torch.pi).sqrt() == pytest.approx(float(half_size[0, 0, thing]), rel=0.05)
    assert_close(metres, torch.full_like(metres, 1 / 26), rtol=0.02, atol=0)
    assert share.max() == 1


def test_the_truth_has_no_error_in_whatever_order_it_is_read(clip):
    for order in ((0, 1), (1, 0)):
        errors = reading_errors_of(reading_of(clip, order), clip)
        assert errors.distance.max() < 1e-4
        told = errors.where(errors.share > 0.25)
        assert told["missed"] == 0 and told["within_1sd"] == 1 and told["size"] < 1e-6
        assert errors.spurious.item() == errors.switches.item() == 0


def test_offsets_are_told_in_pixels_metres_and_standard_deviations(clip):
    reading = reading_of(clip)
    reading.pixels[..., 0] += 0.3
    errors = reading_errors_of(reading, clip)
    assert_close(errors.distance, torch.full_like(errors.distance, 0.3), atol=1e-4, rtol=0)
    assert_close(errors.scaled[..., 0], torch.full_like(errors.distance, 0.3 / 0.1353), atol=2e-3, rtol=0)
    told = errors.where(errors.share > 0.25)
    assert told["median_px"] == pytest.approx(0.3, abs=1e-3)
    assert told["median_m"] == pytest.approx(0.3 / 26, rel=0.02)
    assert told["within_1sd"] == told["within_2sd"] == 0.5  # the other coordinate is right


def test_missed_spurious_and_switched_things_are_counted(clip):
    reading = reading_of(clip)
    reading.presence[0, 2, 1] = 0.1
    reading.pixels[0, 3, 1] = torch.tensor([2.0, 2.0])
    errors = reading_errors_of(reading, clip)
    assert errors.distance.isnan().sum() == 2
    assert errors.where(errors.share > 0.25)["missed"] == pytest.approx(2 / 12)
    assert errors.spurious.item() == pytest.approx(1 / 6)
    assert errors.switches.item() == 0
    crossed = reading_of(clip)
    crossed.pixels[0, 4:] = crossed.pixels[0, 4:].flip(1)
    assert reading_errors_of(crossed, clip).switches.item() == 2


def test_a_clip_without_states_is_refused(clip):
    with pytest.raises(ValueError, match="learns from Clip.truth and Clip.camera; the clip lacks one"):
        true_places(replace(clip, truth=None))
