"""Metres from pixels: what falls with g in metres must, and noise goes with the scale."""

import math
from dataclasses import replace

import pytest
import torch

from worldgen.metrics.checks.assess import assess, without_gravity, without_guesses
from worldgen.metrics.motions.scale import scale_from_gravity, to_metres
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.types import GRAVITY, Trajectory

SCALE, RATE, G = 0.004, 60.0, GRAVITY


def thrown(noise: float = 0.0, gravity: float = G, frames: int = 30) -> Trajectory:
    """A throw in pixels of 4 mm, 60 frames a second."""
    time = torch.arange(frames).double() / RATE
    place = torch.stack([1.2 * time, 0 * time, 1 + 2 * time - gravity / 2 * time**2], dim=-1) / SCALE
    shaken = torch.randn(place.shape, generator=torch.Generator().manual_seed(1)).double()
    shaken[:, 1] = 0
    place = place + noise * shaken
    return trajectory_of(
        place[None, :, None],
        torch.ones(1, frames, 1, dtype=torch.bool),
        torch.tensor([1 / RATE]).double(),
        extent=torch.full((1, 1, 3), 9.0).double(),
        metric=False,
    )


def test_a_known_length_makes_a_throw_fall_with_g():
    report = assess(to_metres(thrown(), SCALE), clip="throw", source="readout", floor=None)
    assert report["free_fall"].value == pytest.approx(0, abs=1e-6)
    assert report["chord_energy"].value == 0
    wrong = assess(to_metres(thrown(), 1.2 * SCALE), clip="throw", source="readout", floor=None)
    assert wrong["free_fall"].value == pytest.approx(0.2, abs=1e-6)


def test_things_are_balls_of_water_in_metres():
    metres = to_metres(thrown(), SCALE)
    assert metres.extent.unique().item() == pytest.approx(0.036)
    assert metres.mass.item() == pytest.approx(1000 * 4 / 3 * math.pi * 0.036**3)
    torch.testing.assert_close(metres.velocity[0, :, 0, 0], torch.full((30,), 1.2).double())
    points = to_metres(replace(thrown(), extent=torch.zeros(1, 1, 3).double()), SCALE)
    assert points.mass.item() == 1  # a point has no volume, and still a mass


def test_the_longest_flight_gives_the_scale():
    down, up = thrown(gravity=3 * G, frames=12), thrown()  # a short flight with other g, then the long one
    path = torch.cat([down.position - down.position[:, -1:] + up.position[:, :1], up.position], dim=1)
    both = trajectory_of(path, torch.ones(1, 42, 1, dtype=torch.bool), up.dt, extent=up.extent, metric=False)
    assert scale_from_gravity(both, G).scale == pytest.approx(SCALE, rel=0.01)


def test_the_scale_from_g_is_the_known_one_and_what_used_g_is_refused():
    found = scale_from_gravity(thrown(), G)
    assert found.scale == pytest.approx(SCALE) and "frames 0-29" in found.note
    assert scale_from_gravity(thrown(), G / 6).scale == pytest.approx(SCALE / 6)
    report = assess(to_metres(thrown(), found.scale), clip="throw", source="readout", floor=None)
    report = without_guesses(without_gravity(report, found.note), 2)
    assert "does not apply: g was used for the scale" in report["free_fall"].note
    assert report["chord_energy"].applies and "how masses compare" in report["momentum"].note
    assert "what lies before what" in report["penetration"].note
    assert "g was used for the scale" in report["g_eff"].note
    lonely = assess(to_metres(thrown(), found.scale), clip="throw", source="readout", floor=None)
    assert "how masses compare" not in without_guesses(lonely, 1)["momentum"].note
    assert not report["penetration_share"].applies


def test_noise_in_pixels_is_noise_in_metres():
    # A pixel of noise moves the acceleration of 30 samples by .08 m/s^2: 6 pixels reach 5 % of g.
    clear = assess(to_metres(thrown(0.1), SCALE), clip="throw", source="readout", floor=None, sigma=None)
    assert clear["free_fall"].value < 0.05
    blurred = assess(to_metres(thrown(12.0), SCALE), clip="throw", source="readout", floor=None)
    assert "noise moves the acceleration by" in blurred["free_fall"].note
    # Two pixels of noise leave the scale known to 2 * .08 / 9.81, which is said and within the limit.
    found = scale_from_gravity(thrown(2.0), G)
    assert found.scale == pytest.approx(SCALE, rel=0.05)
    assert float(found.note.split("known to ")[1].rstrip("%")) == pytest.approx(200 * 0.08 / G, rel=0.4)
    assert "known" not in scale_from_gravity(thrown(12.0), G).note
    assert scale_from_gravity(thrown(12.0), G).scale is None


def test_what_does_not_fall_gives_no_scale():
    rising = scale_from_gravity(thrown(gravity=-G), G)
    assert rising.scale is None and "carried or driven in frames 0-29, which gives no scale" in rising.note
    assert "no flight" in scale_from_gravity(thrown(frames=5), G).note
