from dataclasses import replace

import pytest
import torch

from worldgen.audio.storylines import tell_caption, tell_events
from worldgen.simulation.clips import simulate_clip


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("drop", 3, size=16, frames=25)


def test_each_blow_is_told_when_its_contact_is(clip):
    lines = tell_events(clip)
    contacts = clip.truth.contacts[0].time.tolist()
    assert all(min(abs(line.time - time) for time in contacts) < 1e-6 for line in lines)
    assert [line.text for line in lines] == [
        "The green ball hits the floor.",
        "The yellow ball hits the floor.",
        "The green ball hits the floor again.",
    ]


def test_two_bodies_hit_each_other():
    clip = simulate_clip("collide", 1, size=16, frames=25)
    assert any(" ball hits the " in line.text and "floor" not in line.text for line in tell_events(clip))


def test_things_of_one_name_are_numbered():
    texts = {line.text for line in tell_events(simulate_clip("cradle", 2, size=16, frames=25))}
    subjects = {text.partition(" hits ")[0] for text in texts}
    assert len(subjects) == len({subject.lower() for subject in subjects}) >= 1


def test_a_caption_is_told_from_the_start(clip):
    (line,) = tell_caption(clip)
    assert (line.time, line.text) == (0.0, clip.prompts[0])


def test_what_is_not_known_cannot_be_told(clip):
    with pytest.raises(ValueError, match="no caption"):
        tell_caption(replace(clip, prompts=(" ",)))
    with pytest.raises(ValueError, match="no true contacts to be told"):
        tell_events(replace(clip, truth=None))
    none = replace(
        clip.truth.contacts[0],
        **{
            name: getattr(clip.truth.contacts[0], name)[:0]
            for name in ("time", "bodies", "point", "normal", "impulse")
        },
    )
    with pytest.raises(ValueError, match="no contacts that are blows"):
        tell_events(replace(clip, truth=replace(clip.truth, contacts=(none,))))


def test_the_world_s_own_gravity_counts():
    clip = simulate_clip("drop", 3, size=16, frames=40, gravity=3.0)
    assert tell_events(clip)
    assert torch.isfinite(clip.frames).all()
