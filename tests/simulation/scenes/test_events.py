"""Events of made-up motions whose story is known: falling, bouncing, meeting, hiding, toppling, swinging."""

import math

import numpy as np
import pytest
import torch

from worldgen.simulation.scenes.events import EventKind, find_events, view_bodies
from worldgen.types import GRAVITY, Camera, Contacts, Trajectory

CAMERA = Camera(
    torch.tensor([[0.0, -12.0, 1.0]]),
    torch.tensor([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]]),
    torch.tensor([20.0]),
)


def events_of(position, spin=None, contacts=None, rotation=None, extent=0.2, visible=None, gravity=GRAVITY):
    """Events of bodies at positions (T N 3), 0.04 s apart; velocities from finite differences."""
    position = torch.as_tensor(position, dtype=torch.float64)
    frames, count, _ = position.shape
    (velocity,) = torch.gradient(position, spacing=0.04, dim=0, edge_order=2)  # exact for free falls
    upright = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(frames, count, 4)
    trajectory = Trajectory(
        position[None],
        (upright if rotation is None else rotation)[None],
        velocity[None],
        torch.zeros_like(position)[None] if spin is None else spin[None],
        torch.ones(1, count),
        torch.as_tensor(extent, dtype=torch.float64).expand(1, count, 3),
        torch.ones(1, frames, count, dtype=torch.bool),
        torch.tensor([0.04]),
        (contacts,) if contacts else None,
    )
    return find_events(trajectory, view_bodies(trajectory, CAMERA), gravity, visible)


def touch(time, first, second, normal):
    return Contacts(
        torch.tensor([time]),
        torch.tensor([[first, second]]),
        torch.zeros(1, 3),
        torch.tensor([normal]),
        torch.ones(1),
    )


def path(x, y=0.0, z=1.0, frames=16):
    t = torch.arange(frames, dtype=torch.float64) * 0.04
    parts = [value(t) if callable(value) else torch.full_like(t, value) for value in (x, y, z)]
    return torch.stack(parts, dim=-1)[:, None]


def kinds(events):
    return [event.kind for event in events]


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_a_bounce_gives_its_height(ratio):
    hit, fall = 0.3, GRAVITY / 2
    rise = GRAVITY * hit * math.sqrt(ratio)
    events = events_of(
        path(
            0.0,
            z=lambda t: torch.where(
                t < hit, 1.0 - fall * t**2, 1.0 - fall * hit**2 + rise * (t - hit) - fall * (t - hit) ** 2
            ),
        ),
        contacts=touch(hit, -1, 0, [0.0, 0.0, 1.0]),
    )
    assert kinds(events) == [EventKind.FALLS, EventKind.HITS]
    assert events[1].rebound == pytest.approx(ratio, abs=0.05) and events[1].time == pytest.approx(hit)


def test_a_touch_without_a_blow_is_no_event():
    slow = path(lambda t: 0.2 * t)
    assert kinds(events_of(slow, contacts=touch(0.3, -1, 0, [-1.0, 0.0, 0.0]))) == [EventKind.SLIDES]
    quick = path(lambda t: 0.8 * t)
    assert kinds(events_of(quick, contacts=touch(0.3, -1, 0, [-1.0, 0.0, 0.0]))) == [
        EventKind.SLIDES,
        EventKind.HITS,
    ]
    assert kinds(events_of(quick, contacts=touch(0.01, -1, 0, [-1.0, 0.0, 0.0]))) == [EventKind.SLIDES]


def test_the_faster_of_two_bodies_is_the_one_that_collides():
    both = torch.cat([path(lambda t: -0.5 + t), path(lambda t: 0.5 - 0.4 * t)], dim=1)
    events = events_of(both, contacts=touch(0.4, 1, 0, [-1.0, 0.0, 0.0]))
    assert [(event.kind, event.body, event.other) for event in events] == [
        (EventKind.SLIDES, 0, -1),
        (EventKind.SLIDES, 1, -1),
        (EventKind.COLLIDES, 0, 1),
    ]
    assert events[2].way[0] == pytest.approx(1.0) and events[2].way_of_other[0] == pytest.approx(-0.4)


def test_beginnings():
    thrown = path(lambda t: t, z=lambda t: 1 + t - GRAVITY / 2 * t**2)
    assert kinds(events_of(thrown))[0] is EventKind.FLIES
    rolling = torch.zeros(16, 1, 3, dtype=torch.float64)
    rolling[..., 1] = 5.0
    assert kinds(events_of(path(lambda t: t), spin=rolling))[0] is EventKind.ROLLS
    assert kinds(events_of(path(0.0)))[0] is EventKind.RESTS
    starts = events_of(path(lambda t: -(t**2)))[0]
    assert starts.kind is EventKind.STARTS and starts.way[0] < 0 < starts.time < 0.2
    assert kinds(events_of(path(0.0), spin=rolling, gravity=0.0)) == [EventKind.SPINS]
    drifting = path(lambda t: t)
    assert kinds(events_of(drifting, spin=rolling, gravity=0.0, extent=[0.1, 0.1, 0.3])) == [
        EventKind.TUMBLES
    ]
    late = events_of(path(lambda t: (t - 0.3).clamp(min=0) ** 2))
    assert (
        kinds(late) == [EventKind.RESTS, EventKind.SETS_OFF]
        and late[1].way[0] > 0
        and 0.3 < late[1].time < 0.45
    )


def test_it_turns_around_and_comes_to_rest():
    swing = events_of(path(lambda t: 0.3 * torch.sin(10 * t)))
    assert kinds(swing)[1:] == [EventKind.SWINGS_BACK, EventKind.SWINGS_BACK]
    assert swing[1].way[0] < 0 < swing[2].way[0]
    stopping = events_of(path(lambda t: -((0.3 - t).clamp(min=0) ** 2) * 5))
    assert kinds(stopping) == [EventKind.SLIDES, EventKind.STOPS] and 0.25 < stopping[1].time < 0.36


def test_a_standing_box_topples_and_a_lying_one_does_not():
    angle = torch.linspace(0, math.pi / 2, 16, dtype=torch.float64)
    zero = torch.zeros_like(angle)
    turn = torch.stack([torch.cos(angle / 2), zero, torch.sin(angle / 2), zero], dim=-1)[:, None]
    extent = [0.05, 0.1, 0.4]
    events = events_of(path(0.0), rotation=turn, extent=extent)
    assert kinds(events) == [EventKind.RESTS, EventKind.TOPPLES]
    assert events[1].time == pytest.approx(0.04 * 10, abs=0.041)
    assert kinds(events_of(path(0.0), rotation=turn, extent=[0.4, 0.1, 0.05])) == [EventKind.RESTS]


def test_passing_hiding_and_leaving():
    both = torch.cat([path(lambda t: -1 + 3 * t, y=1.5), path(0.0)], dim=1)
    seen = np.ones((16, 2), dtype=bool)
    seen[8:10, 0] = False
    events = events_of(both, visible=seen)
    assert [(event.kind, event.body, event.other) for event in events[2:]] == [
        (EventKind.PASSES_BEHIND, 0, 1),
        (EventKind.HIDES, 0, -1),
        (EventKind.REAPPEARS, 0, -1),
    ]
    assert [event.time for event in events[3:]] == pytest.approx([0.32, 0.40])
    leaving = events_of(path(lambda t: 1 + 4 * t))
    assert kinds(leaving) == [EventKind.SLIDES, EventKind.LEAVES] and leaving[1].way[0] > 0
