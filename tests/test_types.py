from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.types import (
    Camera,
    Check,
    Clip,
    Conditioning,
    Contacts,
    PhysicsReport,
    Trajectory,
    select,
    to_device,
)


def trajectory(batch=2, time=3, count=2):
    rotation = torch.zeros(batch, time, count, 4)
    rotation[..., 0] = 1
    return Trajectory(
        position=torch.randn(batch, time, count, 3),
        rotation=rotation,
        velocity=torch.zeros(batch, time, count, 3),
        spin=torch.zeros(batch, time, count, 3),
        mass=torch.ones(batch, count),
        extent=torch.ones(batch, count, 3),
        present=torch.ones(batch, time, count, dtype=torch.bool),
        dt=torch.full((batch,), 0.04),
        contacts=(contacts(1), contacts(2))[:batch],
    )


def contacts(count):
    return Contacts(
        torch.zeros(count),
        torch.zeros(count, 2, dtype=torch.long),
        torch.zeros(count, 3),
        torch.zeros(count, 3),
        torch.zeros(count),
    )


def camera(batch=2):
    """Looks along +y from y = -12."""
    axes = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    position = torch.tensor([[0.0, -12.0, 1.0]]).expand(batch, -1)
    return Camera(position, axes.expand(batch, -1, -1), torch.full((batch,), 12.0))


def clip(batch=2, time=3):
    return Clip(
        frames=torch.rand(batch, time, 3, 4, 6),
        fps=torch.full((batch,), 25.0),
        prompts=("a", "b")[:batch],
        sound=torch.zeros(batch, 10),
        depth=torch.ones(batch, time, 1, 4, 6),
        masks=torch.ones(batch, time, 2, 4, 6, dtype=torch.bool),
        imu=torch.zeros(batch, 5, 6),
        camera=camera(batch),
        truth=trajectory(batch, time),
        scenes=("<a/>", "<b/>")[:batch],
    )


BAD_CLIPS = [
    ({"frames": torch.rand(2, 3, 4, 6)}, r"Clip.frames must be \(B T 3 H W\) RGB; got shape \(2, 3, 4, 6\)"),
    ({"frames": torch.rand(2, 3, 1, 4, 6)}, r"Clip.frames must be \(B T 3 H W\)"),
    ({"frames": torch.rand(2, 0, 3, 4, 6)}, "must hold frames of pixels"),
    ({"frames": torch.zeros(2, 3, 3, 4, 6, dtype=torch.uint8)}, "floating point.*Divide by 255 first"),
    ({"frames": torch.full((2, 3, 3, 4, 6), 255.0)}, r"RGB in \[0, 1\]; got \[255, 255\]. Divide by 255"),
    ({"frames": torch.full((2, 3, 3, 4, 6), float("nan"))}, r"RGB in \[0, 1\]; got \[nan, nan\]"),
    ({"fps": torch.ones(3)}, r"Clip.fps must have shape \(2,\); got \(3,\)"),
    ({"fps": torch.tensor([25.0, 0.0])}, "Clip.fps must be positive"),
    ({"prompts": ("a",)}, "Clip.prompts must hold one text per clip; got 1 for 2"),
    ({"scenes": ("a", "b", "c")}, "Clip.scenes must hold one text per clip; got 3 for 2"),
    ({"sound": torch.full((2, 10), 3.0)}, r"Clip.sound must lie in \[-1, 1\]; got a peak of 3"),
    ({"sound": torch.zeros(3, 10)}, "Clip.sound must have shape"),
    ({"depth": torch.ones(2, 3, 4, 6)}, "Clip.depth must have shape"),
    ({"masks": torch.ones(2, 3, 2, 4, 5, dtype=torch.bool)}, "Clip.masks must have shape"),
    ({"masks": torch.ones(2, 3, 2, 4, 6)}, "Clip.masks must be bool; got torch.float32"),
    ({"imu": torch.zeros(2, 5, 3)}, "Clip.imu must have shape"),
    ({"camera": camera(1)}, "Clip.camera must hold one camera per clip; got 1 for 2"),
    ({"truth": trajectory(2, 4)}, r"must cover the clip's 2 clips and 3 frames; got \(2, 4\)"),
]


@pytest.mark.parametrize("change, sentence", BAD_CLIPS)
def test_a_bad_clip_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(clip(), **change)


BAD_TRAJECTORIES = [
    ({"position": torch.zeros(2, 3, 2, 2)}, r"Trajectory.position must be \(B T N 3\)"),
    ({"rotation": torch.ones(2, 3, 2, 3)}, "Trajectory.rotation must have shape"),
    ({"rotation": torch.ones(2, 3, 2, 4)}, "must be unit quaternions; got a norm of 2. Normalize first"),
    ({"velocity": torch.ones(2, 3, 1, 3)}, "Trajectory.velocity must have shape"),
    ({"spin": torch.ones(2, 3, 1, 3)}, "Trajectory.spin must have shape"),
    ({"mass": torch.ones(2, 3)}, "Trajectory.mass must have shape"),
    ({"extent": torch.ones(2, 2)}, "Trajectory.extent must have shape"),
    ({"present": torch.ones(2, 3, 2)}, "Trajectory.present must be bool; got torch.float32"),
    ({"present": torch.ones(2, 3, 1, dtype=torch.bool)}, "Trajectory.present must have shape"),
    ({"dt": torch.tensor([0.04, 0.0])}, "Trajectory.dt must be positive seconds"),
    ({"dt": torch.tensor([0.04, torch.inf])}, "Trajectory.dt must be positive seconds"),
    ({"mass": torch.ones(2, 2, dtype=torch.bool)}, "Trajectory.mass must be .*; got torch.bool that is not"),
    (
        {"position": torch.full((2, 3, 2, 3), torch.nan)},
        "Trajectory.position must be finite where objects are",
    ),
    (
        {"velocity": torch.full((2, 3, 2, 3), torch.inf)},
        "Trajectory.velocity must be finite where objects are",
    ),
    ({"spin": torch.full((2, 3, 2, 3), -torch.inf)}, "Trajectory.spin must be finite where objects are"),
    (
        {"mass": torch.full((2, 2), torch.nan)},
        "Trajectory.mass must be finite and not negative where objects are",
    ),
    ({"mass": torch.full((2, 2), -1.0)}, "Trajectory.mass must be finite and not negative where"),
    ({"extent": torch.full((2, 2, 3), -0.5)}, "Trajectory.extent must be finite and not negative where"),
    ({"dt": torch.ones(1)}, "Trajectory.dt must have shape"),
    ({"contacts": (contacts(1),)}, "one entry per clip; got 1 for 2"),
]


@pytest.mark.parametrize("change, sentence", BAD_TRAJECTORIES)
def test_a_bad_trajectory_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(trajectory(), **change)


def test_an_absent_object_may_have_any_states():
    states = trajectory()
    nothing = torch.full_like(states.velocity, torch.nan)
    absent = torch.zeros_like(states.present)
    assert not replace(states, velocity=nothing, mass=-states.mass, present=absent).present.any()


def test_an_absent_object_may_have_any_rotation():
    states = trajectory()
    rotation, present = states.rotation.clone(), states.present.clone()
    rotation[0, 1, 0], present[0, 1, 0] = 0, False
    assert not replace(states, rotation=rotation, present=present).present.all()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"position": torch.zeros(2)}, "Camera.position must have 2 axes"),
        ({"rotation": torch.zeros(2, 3)}, "Camera.rotation must have shape"),
        ({"fovy": torch.ones(3)}, "Camera.fovy must have shape"),
        ({"fovy": torch.tensor([12.0, 180.0])}, r"Camera.fovy must lie in \(0, 180\)"),
        ({"position": torch.zeros(2, 5, 3)}, r"Camera.rotation must have shape \(2, 5, 3, 3\)"),
    ],
)
def test_a_bad_camera_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(camera(), **change)


@pytest.mark.parametrize("name", ["bodies", "point", "normal", "impulse"])
def test_bad_contacts_are_refused(name):
    with pytest.raises(ValueError, match=f"Contacts.{name} must have shape"):
        replace(contacts(2), **{name: torch.zeros(3, 3)})


def test_conditions_must_agree():
    tokens, mask, pooled = torch.zeros(2, 4, 8), torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, 8)
    Conditioning(tokens, mask, pooled)
    for bad, sentence in (
        ((tokens[0], mask, pooled), r"must be \(B L D\)"),
        ((tokens, mask[:, :2], pooled), "Conditioning.mask must have shape"),
        ((tokens, mask.float(), pooled), "Conditioning.mask must be bool"),
        ((tokens, mask, pooled[:, :3]), "Conditioning.pooled must have shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Conditioning(*bad)


def test_checks_are_whole_and_scores_are_scores():
    check = Check("free_fall", 0.01, "of g", 0.1, 0.9)
    assert check.applies and not Check("free_fall", None, "", 0.1, None, note="no flight").applies
    for bad, sentence in (
        ({"score": None}, "both a value and a score, or neither"),
        ({"score": 1.5}, r"must score in \[0, 1\]; got 1.5"),
        ({"value": None, "score": None}, "must say why in its note"),
    ):
        with pytest.raises(ValueError, match=sentence):
            replace(check, **bad)


def test_reports_name_source_and_checks():
    check = Check("motion", 2.0, "radii", 1.0, 1.0)
    report = PhysicsReport("clip", "truth", (check,))
    assert report["motion"] is check
    with pytest.raises(KeyError, match="no check 'energy'"):
        report["energy"]
    with pytest.raises(ValueError, match="source must be truth, readout or replay; got 'model'"):
        replace(report, source="model")
    with pytest.raises(ValueError, match="must name each check once"):
        replace(report, checks=(check, check))


def test_one_clip_of_a_batch_carries_all_its_parts():
    batch = clip()
    one = batch[1]
    assert one.prompts == ("b",) and one.scenes == ("<b/>",)
    assert torch.equal(one.frames, batch.frames[1:]) and torch.equal(one.masks, batch.masks[1:])
    assert torch.equal(one.truth.position, batch.truth.position[1:])
    assert len(one.truth.contacts) == 1 and len(one.truth.contacts[0].time) == 2
    assert torch.equal(one.camera.fovy, batch.camera.fovy[1:])
    assert torch.equal(batch[-1].frames, one.frames)
    with pytest.raises(IndexError):
        batch[2]
    assert len(select(batch, slice(0, 2))) == 2


def test_types_are_frozen_and_move_as_a_whole():
    with pytest.raises(FrozenInstanceError):
        clip().fps = None
    parts = to_device((torch.zeros(2), "text", None), "meta")
    assert parts[0].is_meta and parts[1:] == ("text", None)
    batch = clip()
    moved = to_device(batch, torch.device("cpu"))
    assert torch.equal(moved.truth.contacts[1].time, batch.truth.contacts[1].time)
    assert moved.prompts == batch.prompts


def test_unproject_is_the_inverse_of_project_on_the_plane():
    points = torch.randn(2, 3, 4, 3)
    points[..., 1] = 0
    pixels = camera().project(points, 48, 64)
    assert_close(camera().unproject(pixels, 48, 64), points, atol=1e-4, rtol=1e-4)


def test_the_point_ahead_of_the_camera_is_the_middle_of_the_image_and_up_is_up():
    ahead = torch.tensor([[[[0.0, 0.0, 1.0], [0.1, 0.0, 1.0], [0.0, 0.0, 1.1]]]]).expand(2, -1, -1, -1)
    middle, right, above = camera().project(ahead, 48, 64)[0, 0]
    assert_close(middle, torch.tensor([31.5, 23.5]))
    assert right[0] > middle[0] and above[1] < middle[1]
