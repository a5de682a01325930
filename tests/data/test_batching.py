from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch

from worldgen.data.batching import stack_clips, stack_trajectories
from worldgen.types import Clip, first_objects

MakeClip = Callable[..., Clip]


def test_rows_are_the_clips(make_clip: MakeClip) -> None:
    clips = [make_clip(seed) for seed in range(3)]
    batch = stack_clips(clips)
    assert len(batch) == 3
    assert batch.prompts == tuple(clip.prompts[0] for clip in clips)
    assert batch.scenes == tuple(clip.scenes[0] for clip in clips)
    for row, clip in enumerate(clips):
        for name in ("frames", "depth", "masks", "sound", "imu", "fps"):
            torch.testing.assert_close(getattr(batch[row], name), getattr(clip, name), rtol=0, atol=0)
        torch.testing.assert_close(batch[row].truth.position, clip.truth.position, rtol=0, atol=0)
        torch.testing.assert_close(batch[row].camera.rotation, clip.camera.rotation, rtol=0, atol=0)
        assert batch.truth.contacts[row] is clip.truth.contacts[0]


def test_objects_are_padded(make_clip: MakeClip) -> None:
    one, three = make_clip(0, objects=1), make_clip(1, objects=3)
    batch = stack_clips([one, three])
    truth = batch.truth
    assert batch.masks.shape == (2, 3, 3, 8, 8) and not batch.masks[0, :, 1:].any()
    assert not truth.present[0, :, 1:].any()
    torch.testing.assert_close(truth.rotation[0, :, 1:], torch.tensor([1.0, 0, 0, 0]).expand(3, 2, 4))
    torch.testing.assert_close(truth.mass[0, 1:], torch.ones(2))
    torch.testing.assert_close(truth.extent[0, 1:], torch.zeros(2, 3))
    for name in ("position", "rotation", "velocity", "spin", "present"):
        torch.testing.assert_close(getattr(truth, name)[:1, :, :1], getattr(one.truth, name))
        torch.testing.assert_close(getattr(truth, name)[1:], getattr(three.truth, name))
    torch.testing.assert_close(truth.mass[:1, :1], one.truth.mass)
    torch.testing.assert_close(truth.mass[1:], three.truth.mass)


def test_padding_is_taken_off_again(make_clip: MakeClip) -> None:
    one = make_clip(0, objects=1).truth
    alone = first_objects(stack_clips([make_clip(0, objects=1), make_clip(1, objects=3)])[0].truth, 1)
    for name in ("position", "rotation", "velocity", "spin", "mass", "extent", "present"):
        torch.testing.assert_close(getattr(alone, name), getattr(one, name), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["sound", "depth", "masks", "imu", "camera", "truth", "scenes"])
def test_a_field_that_one_clip_lacks_is_left_out(make_clip: MakeClip, name: str) -> None:
    batch = stack_clips([make_clip(0), replace(make_clip(1), **{name: None})])
    assert getattr(batch, name) is None
    others = {"sound", "depth", "masks", "imu", "camera", "truth", "scenes"} - {name}
    assert all(getattr(batch, other) is not None for other in others)


def test_contacts_that_one_clip_lacks_are_left_out(make_clip: MakeClip) -> None:
    clip = make_clip(1)
    without = replace(clip.truth, contacts=None)
    assert stack_trajectories([make_clip(0).truth, without]).contacts is None
    assert len(stack_trajectories([make_clip(0).truth, clip.truth]).contacts) == 2


def test_shorter_sound_is_padded_with_silence(make_clip: MakeClip) -> None:
    clip = make_clip(0)
    batch = stack_clips([clip, replace(clip, sound=clip.sound[:, :100])])
    assert batch.sound.shape == (2, 320) and not batch.sound[1, 100:].any()
    torch.testing.assert_close(batch.sound[1, :100], clip.sound[0, :100])


def test_what_does_not_fit_together_is_refused(make_clip: MakeClip) -> None:
    clip = make_clip(0)
    with pytest.raises(ValueError, match="at least one clip; got none"):
        stack_clips([])
    with pytest.raises(ValueError, match=r"equal \(T, 3, H, W\); got \(3, 3, 8, 8\) and \(4, 3, 8, 8\)"):
        stack_clips([clip, make_clip(0, frames=4)])
    pixels = replace(clip, truth=replace(clip.truth, metric=False))
    with pytest.raises(ValueError, match="all be in metres or all in pixels; got both"):
        stack_clips([clip, pixels])
    with pytest.raises(ValueError, match=r"equally many frames; got \[3, 4\]"):
        stack_trajectories([clip.truth, make_clip(0, frames=4).truth])
    with pytest.raises(ValueError, match="at least one trajectory; got none"):
        stack_trajectories([])


def test_cameras_that_move_and_stand_still_are_batched_as_poses_per_frame(make_clip: MakeClip) -> None:
    still = make_clip(0)
    moving = replace(still, camera=still.camera.over(still.frames.shape[1]))
    both = stack_clips([still, moving])
    torch.testing.assert_close(both.camera.position[0], both.camera.position[1])
    assert both.camera.moves and not stack_clips([still, still]).camera.moves


def test_a_batch_of_what_was_checked_is_what_a_checked_batch_is(make_clip: MakeClip) -> None:
    """Its pixels are not looked at again: every rule of a clip holds for it all the same."""
    batch = stack_clips([make_clip(0, objects=1), make_clip(1, objects=3)])
    again = replace(batch, truth=replace(batch.truth))
    assert [field.name for field in fields(batch)] == [field.name for field in fields(again)]
    assert all(
        getattr(batch, field.name) is not None for field in fields(batch) if field.name != "descriptions"
    )
    assert torch.equal(again.frames, batch.frames) and again.truth.metric is batch.truth.metric is True
