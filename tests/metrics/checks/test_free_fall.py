"""g_eff and Galileo's ratio: falls from rest, in closed form."""

import pytest
import torch

from tests.metrics.paths import DT, G, fall, of, path, times
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.free_fall import check_g_eff, check_galileo, find_falls
from worldgen.metrics.tracking.colors import trajectory_of


def falls(*paths, gravity=G, **options):
    return find_falls(of(*paths, **options), 0.0, gravity)


def own_gravity(found):
    return 2 * found.height / found.time**2


@pytest.mark.parametrize("gravity", [1.62, 5.0, G, 13.0])
def test_g_eff_is_the_gravity_of_the_fall(gravity):
    trajectory = of(fall(1.8, gravity, frames=12))
    report = assess(trajectory, clip="x", source="truth")
    assert report["g_eff"].value == pytest.approx(abs(gravity / G - 1), abs=1e-9)
    assert f"g_eff = {gravity:.3f} m/s^2" in report["g_eff"].note
    assert "1 fall from rest" in report["galileo_ratio"].note


@pytest.mark.parametrize("slowness", [1.25, 2.0, 3.0])
def test_slow_motion_has_the_error_of_theory(slowness):
    t = times(14) / slowness
    slowed = of(path(0.0, 0.0, 2.5 - G * t**2 / 2, 14))
    report = assess(slowed, clip="x", source="truth")
    for name in ("g_eff", "free_fall"):
        assert report[name].value == pytest.approx(1 - 1 / slowness**2, abs=1e-9), name


def test_galileo_is_one_for_any_gravity_scale_and_rate():
    for gravity, scale in ((G, 1.0), (1.62, 3.0), (20.0, 0.2)):
        # Heights and floors differ: the two falls end at different times.
        pair = (scale * fall(1.2, gravity, -1.0, 30), scale * fall(0.7, gravity, 1.0, 30))
        found = find_falls(of(*pair, radius=0.12 * scale, metric=False), 0.15 * scale, None)
        assert len(found) == 2 and found[0].time != found[1].time
        assert check_galileo(found).value == pytest.approx(0, abs=1e-9)


def test_galileo_sees_what_falls_twice_as_fast():
    found = falls(fall(1.2, G, -1.0), fall(1.2, 0.5 * G, 1.0))
    ratio = check_galileo(found)
    assert ratio.value == pytest.approx(0.5, abs=1e-9) and ratio.score < 0.1
    assert "R = 0.500, 2 falls" in ratio.note


def test_a_thing_that_is_held_at_first_falls_from_its_release():
    held = torch.cat([path(0.0, 0.0, 1.8, 3), fall(1.8, frames=9)])  # released later: no fault
    assert check_g_eff(of(held), falls(held), G).value == pytest.approx(0, abs=1e-9)


def test_only_falls_from_rest_count():
    t = times(10)
    thrown = path(t, 0.0, 1.0 + 2.0 * t - G * t**2 / 2, 10)
    pushed = path(t, 0.0, 2.0 - 2.0 * t - G * t**2 / 2, 10)
    rolling = path(t, 0.0, 0.12, 10)
    assert falls(thrown) == falls(pushed) == falls(rolling) == ()
    sideways = path(1.5 * t, 0.0, 2.0 - G * t**2 / 2, 10)  # nothing vertical at the start
    assert own_gravity(falls(sideways)[0]) == pytest.approx(G)


def test_a_bounce_ends_the_fall():
    t = times(16)
    height, up = 0.9, 0.0
    hit = (2 * (height - 0.12) / G) ** 0.5
    z = torch.where(t < hit, height - G * t**2 / 2, 0.12 + 0.8 * G * hit * (t - hit) - G * (t - hit) ** 2 / 2)
    found = falls(path(0.0, 0.0, z, 16))
    assert len(found) == 1 and found[0].stop * DT < hit
    assert own_gravity(found[0]) == pytest.approx(G) and up == 0.0


def test_what_does_not_apply_says_why():
    drop = of(fall(1.8))
    report = assess(of(fall(1.8), metric=False), clip="x", source="truth")
    assert "pixels without scale" in report["g_eff"].note
    assert "gravity is 0" in assess(drop, clip="x", source="truth", gravity=0.0)["g_eff"].note
    rolling = of(path(times(10), 0.0, 0.12, 10))
    assert "nothing falls from rest" in assess(rolling, clip="x", source="truth")["g_eff"].note


@pytest.mark.parametrize("held", [0, 10])
@pytest.mark.parametrize("frames", [8, 12, 30])
@pytest.mark.parametrize("noise", [0.001, 0.005, 0.02])
def test_g_eff_has_the_guard_of_free_fall_and_says_its_noise(held, frames, noise):
    t = torch.arange(frames, dtype=torch.float64) / 60
    height = torch.cat([torch.full((held,), 9.0).double(), 9 - G * t**2 / 2])
    for seed in range(4):
        shaken = noise * torch.randn(len(height), generator=torch.Generator().manual_seed(seed)).double()
        place = path(0.0, 0.0, height + shaken, len(height))[None, :, None]
        track = trajectory_of(
            place,
            torch.ones(place.shape[:3]).bool(),
            torch.tensor([1 / 60]).double(),
            extent=torch.full((1, 1, 3), 0.05),
        )
        report = assess(track, clip="x", source="readout", floor=None, sigma=noise)
        g_eff, free = report["g_eff"], report["free_fall"]
        if g_eff.applies:
            assert g_eff.value < 0.15 and float(g_eff.note.split("noise ")[1].split(" g")[0]) <= 0.05
        if not free.applies and "noise" in free.note and not held:
            assert not g_eff.applies
