"""Impact sound against closed forms: when it starts, how it rings, how loud it is, and what stays silent."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.special import spherical_jn
from torch.testing import assert_close

from worldgen.audio import impact
from worldgen.audio.impact import (
    LOUDNESS,
    RATE,
    SoundingClips,
    add_sound,
    find_impacts,
    impact_sound,
    mode_frequencies,
)
from worldgen.data.sources import SimulatedClips
from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.types import GRAVITY, Contacts, Trajectory

SECONDS = 0.64
HIT = 0.2503
FALL = GRAVITY


def contacts_of(*rows):
    """Rows of time, bodies, normal and impulse; all at the origin."""
    return Contacts(
        time=torch.tensor([row[0] for row in rows]),
        bodies=torch.tensor([row[1] for row in rows]).reshape(len(rows), 2),
        point=torch.zeros(len(rows), 3),
        normal=torch.tensor([row[2] for row in rows], dtype=torch.float32).reshape(len(rows), 3),
        impulse=torch.tensor([float(row[3]) for row in rows]),
    )


def still(velocity, contacts, mass=(3.0,), radius=(0.2,)):
    """Bodies (N) with the given velocities (T N 3) in m/s, 25 frames per second."""
    velocity = torch.as_tensor(velocity, dtype=torch.float32)[None]
    shape = velocity.shape[:3]
    rotation = torch.zeros(*shape, 4)
    rotation[..., 0] = 1
    return Trajectory(
        position=torch.zeros(*shape, 3),
        rotation=rotation,
        velocity=velocity,
        spin=torch.zeros(*shape, 3),
        mass=torch.tensor([mass]),
        extent=torch.tensor([[[one] * 3 for one in radius]]),
        present=torch.ones(shape, dtype=torch.bool),
        dt=torch.tensor([0.04]),
        contacts=(contacts,),
    )


def falling(impulse=5.0, time=HIT, mass=3.0, radius=0.2, frames=16):
    """A ball that falls from rest, hits the floor at ``time`` and lies there."""
    velocity = torch.zeros(frames, 1, 3)
    before = torch.arange(frames) * 0.04 < time
    velocity[before, 0, 2] = -FALL * 0.04 * torch.arange(frames)[before].float()
    floor = contacts_of((time, (-1, 0), (0, 0, 1), impulse))
    return still(velocity, floor, (mass,), (radius,))


@pytest.mark.parametrize("time", [HIT, 0.1, 0.33337])
def test_it_starts_at_the_contact_to_a_sample(time):
    sound = impact_sound(falling(time=time), SECONDS)
    assert sound.shape == (1, 10240)
    first = int(sound[0].nonzero()[0])
    assert first - 1 <= float(torch.tensor(time)) * RATE <= first + 1


def test_its_frequencies_are_those_of_an_elastic_ball():
    """The modes solve the equations of free vibrations: Lamb's, as in Eringen and Suhubi, section 8.14."""

    def determinant(n, b):
        a = b / math.sqrt(3)  # Poisson's ratio 1/4

        def j(order, x):
            return spherical_jn(order, x)

        first = (n * n - n - b * b / 2) * j(n, a) + 2 * a * j(n + 1, a)
        second = n * (n + 1) * ((n - 1) * j(n, b) - b * j(n + 1, b))
        third = (n - 1) * j(n, a) - a * j(n + 1, a)
        fourth = (n * n - 1 - b * b / 2) * j(n, b) + b * j(n + 1, b)
        return first * fourth - second * third if n else first

    for order, mode in zip((2, 1, 3, 0, 4), impact._MODES, strict=True):
        assert determinant(order, mode - 2e-3) * determinant(order, mode + 2e-3) < 0, order


@pytest.mark.parametrize("mass, radius", [(3.0, 0.2), (3.0, 0.15), (12.0, 0.2)])
def test_it_rings_at_the_frequency_of_its_size_and_mass(mass, radius):
    sound = impact_sound(falling(mass=mass, radius=radius), SECONDS)[0]
    start = math.ceil(HIT * RATE)
    spectrum = torch.fft.rfft(sound[start : start + 4000], 16_000).abs()  # 1 Hz per bin
    density = mass / (4 / 3 * math.pi * radius**3)
    expected = 2.640 * math.sqrt(1e8 / density) / (2 * math.pi * radius)
    assert abs(int(spectrum.argmax()) - expected) < 12
    assert mode_frequencies(mass, [radius] * 3)[0] == pytest.approx(expected)


def test_frequency_falls_with_size_and_density():
    base = mode_frequencies(2.0, [0.3] * 3)
    assert_close(torch.tensor(mode_frequencies(16.0, [0.6] * 3)), torch.tensor(base) / 2)
    assert_close(torch.tensor(mode_frequencies(8.0, [0.3] * 3)), torch.tensor(base) / 2)
    assert_close(torch.tensor(mode_frequencies(2.0, [0.15, 0.3, 0.6])), torch.tensor(base))
    assert mode_frequencies(0.001, [0.01] * 3) == ()  # ultrasound


def test_it_decays_as_internal_friction_does():
    """A body of which only the lowest mode is below 8 kHz, so that the envelope is one exponential."""
    mass, radius = 0.082, 0.05
    (frequency,) = mode_frequencies(mass, [radius] * 3)
    sound = impact_sound(falling(mass=mass, radius=radius, impulse=0.3), SECONDS)[0].double()
    start, block = math.ceil(HIT * RATE) + 10, 100
    energy = sound[start : start + 6 * block].square().unflatten(0, (6, block)).mean(dim=1)
    slope = energy.log().diff() / (block / RATE)
    assert_close(slope, torch.full((5,), -2 * math.pi * 0.01 * frequency).double(), rtol=0.03, atol=0)


def test_it_is_as_loud_as_the_impulse():
    one, two = (impact_sound(falling(impulse=impulse), SECONDS) for impulse in (2.0, 4.0))
    assert_close(two, 2 * one)
    t = torch.arange(math.ceil(HIT * RATE), 10240) / RATE - torch.tensor(HIT)
    written_out = sum(
        torch.exp(-math.pi * 0.01 * f * t) * torch.sin(2 * math.pi * f * t) / k
        for k, f in enumerate(mode_frequencies(3.0, [0.2] * 3), start=1)
    )
    assert_close(two[0, -len(t) :], LOUDNESS * 4 * written_out, atol=2e-5, rtol=0)


def test_a_clip_that_is_too_loud_is_turned_down():
    sound = impact_sound(falling(impulse=4000.0, mass=2000.0, radius=0.5), SECONDS)
    assert float(sound.abs().max()) == 1.0


def test_both_bodies_ring_and_the_world_does_not():
    velocity = torch.zeros(16, 2, 3)
    velocity[:7, 0, 0], velocity[7:, 1, 0] = 2.0, 1.5
    pair = contacts_of((HIT, (0, 1), (1, 0, 0), 1.0))
    together = impact_sound(still(velocity, pair, (3.0, 1.0), (0.2, 0.13)), SECONDS)
    alone = []
    for mass, radius in ((3.0, 0.2), (1.0, 0.13)):
        alone.append(impact_sound(falling(impulse=1.0, mass=mass, radius=radius), SECONDS))
    assert_close(together, alone[0] + alone[1], atol=1e-6, rtol=0)


def test_what_rests_is_silent_and_weight_does_not_add_to_a_blow():
    lying = still(torch.zeros(16, 1, 3), contacts_of((0.001, (-1, 0), (0, 0, 1), 3.0 * FALL * 0.6)))
    assert not impact_sound(lying, SECONDS).any()
    approach = FALL * float(torch.tensor(HIT))
    (blow,) = find_impacts(falling(impulse=1e6), 0)
    assert blow.impulse == pytest.approx(2 * 3.0 * approach, rel=1e-4)  # an elastic one, and no more
    leaving = still(torch.full((16, 1, 3), 2.0), contacts_of((HIT, (-1, 0), (0, 0, 1), 1.0)))
    assert not impact_sound(leaving, SECONDS).any()


def test_a_blow_is_handed_on_within_a_frame():
    """Three balls in a row: the third is struck by the second, which only just began to move."""
    velocity = torch.zeros(16, 3, 3)
    velocity[:7, 0, 0], velocity[7:, 2, 0] = 2.0, 2.0
    row = contacts_of((HIT, (0, 1), (1, 0, 0), 2.0), (HIT + 0.004, (1, 2), (1, 0, 0), 2.0))
    blows = find_impacts(still(velocity, row, (1.0,) * 3, (0.1,) * 3), 0)
    assert [blow.bodies for blow in blows] == [(0, 1), (1, 2)]
    assert [blow.impulse for blow in blows] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("family", ["drop", "bounce", "collide"])
def test_simulated_impacts_are_heard_when_they_happen_and_with_their_own_impulse(family):
    truth = simulate_trajectory(family, 4)
    sound = impact_sound(truth, SECONDS)
    struck = next(k for k, time in enumerate(truth.contacts[0].time.tolist()) if time > 0.04)  # not the floor
    first = int(sound[0].nonzero()[0])
    assert abs(first - float(truth.contacts[0].time[struck]) * RATE) <= 1
    blows = find_impacts(truth, 0)
    assert blows[0].impulse == pytest.approx(float(truth.contacts[0].impulse[struck]), rel=1e-3)


@pytest.mark.parametrize("family", ["tumble", "projectile", "roll", "slide"])
def test_flying_rolling_and_sliding_are_silent(family):
    assert not impact_sound(simulate_trajectory(family, 2), SECONDS).any()


@pytest.mark.parametrize("family, seed", [("topple", 2_000_007), ("dominoes", 3)])
def test_stacks_and_rows_ring_at_blows_and_do_not_buzz(family, seed):
    truth = simulate_trajectory(family, seed)
    blows = find_impacts(truth, 0)
    assert 1 <= len(blows) <= 4 * truth.position.shape[2]
    assert 2 * len(blows) < len(truth.contacts[0].time)
    assert min(blow.time for blow in blows) > 0.04


def test_clips_of_a_source_get_sound_and_keep_the_rest():
    source = SimulatedClips(["drop", "tumble"], 2, size=16, frames=8)
    sounding = SoundingClips(source)
    clip, plain = sounding[0], source[0]
    assert len(sounding) == 2 and sounding.name(0) == source.name(0)
    assert clip.sound.shape == (1, round(8 / 25 * RATE)) and clip.sound.abs().max() <= 1
    assert torch.equal(clip.sound, sounding[0].sound)
    assert torch.equal(replace(clip, sound=None).frames, plain.frames)
    assert not sounding[1].sound.any()
    unknown = replace(plain, truth=None)
    assert add_sound(unknown) is unknown


def test_what_has_no_sound_gets_a_sentence():
    truth = simulate_trajectory("drop", 0)
    with pytest.raises(ValueError, match="this trajectory has none. Use the truth of a simulated clip."):
        impact_sound(replace(truth, contacts=None), 1.0)
    with pytest.raises(ValueError, match="contacts in metres and N s; this trajectory has lengths in pixels"):
        impact_sound(replace(truth, metric=False), 1.0)
    with pytest.raises(ValueError, match="must last a positive number of seconds; got 0.0"):
        impact_sound(truth, 0.0)
    clip = simulate_clip("drop", 0, size=8, frames=2)
    twice = replace(
        clip,
        frames=clip.frames.repeat(2, 1, 1, 1, 1),
        fps=torch.tensor([25.0, 50.0]),
        **{name: None for name in ("depth", "masks", "camera", "scenes", "descriptions")},
        prompts=clip.prompts * 2,
        truth=replace(
            clip.truth,
            **{
                name: getattr(clip.truth, name).repeat(2, *[1] * (getattr(clip.truth, name).ndim - 1))
                for name in ("position", "rotation", "velocity", "spin", "mass", "extent", "present", "dt")
            },
            contacts=clip.truth.contacts * 2,
        ),
    )
    with pytest.raises(ValueError, match="must last equally long to get sound; got .0.04, 0.08. s"):
        add_sound(twice)
