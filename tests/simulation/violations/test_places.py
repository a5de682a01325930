import torch

from tests.simulation.violations.films import film, pixels_only
from worldgen.simulation.violations.graded import (
    CONTEXT_FRAMES,
    duplicate,
    graded_violations,
    slow_motion,
    swap,
    teleport,
    vanish,
)


def test_what_moves_aside_stays_in_view_and_clear_of_others():
    for seed in range(6):
        clip = film("collide", seed)
        for broken in (duplicate(clip), teleport(clip, 0.1)):
            shown = broken.masks[0].sum(dim=(-2, -1))
            assert (shown[broken.truth.present[0]] > 0).all()
        truth = duplicate(clip).truth
        gaps = (truth.position[0, 5:9, 2:] - truth.position[0, 5:9, :2]).norm(dim=-1)
        assert (gaps > truth.extent[0, 2, 0] + truth.extent[0, :2, 0] - 0.01).all()
        assert torch.equal(truth.extent[:, 2], truth.extent[:, 0]) and truth.position.shape[2] == 3


def test_swapped_objects_stand_where_the_other_stood():
    clip = film("collide", 1)
    truth, old = swap(clip, 0.25).truth, clip.truth
    torch.testing.assert_close(truth.position[0, 5:9, 0, :2], old.position[0, 5:9, 1, :2])
    torch.testing.assert_close(
        truth.position[0, 5:9, :, 2] - truth.extent[0, :, 2],
        (old.position[0, 5:9, :, 2] - old.extent[0, :, 2]).flip(-1),
    )
    assert torch.equal(truth.position[0, 9:], old.position[0, 9:])


def test_clips_without_a_scene_are_cut_and_pasted():
    clip = film("bounce", 2)
    bare = pixels_only(clip)
    gone = vanish(bare, 0.25)
    true = vanish(clip, 0.25)
    assert not gone.masks[0, 5:9].any() and torch.equal(gone.frames[:, 9:], clip.frames[:, 9:])
    assert (gone.frames - true.frames).abs()[:, 5:9].mean() < 0.004  # its shadow stays
    jumped = teleport(bare, 0.25)
    assert (jumped.masks != teleport(clip, 0.25).masks).float().mean() < 0.01
    slowed = slow_motion(bare, 2.0)
    assert torch.equal(
        slowed.frames[:, CONTEXT_FRAMES - 1 :: 2], clip.frames[:, CONTEXT_FRAMES - 1 : CONTEXT_FRAMES + 7]
    )
    made = [violation.name for violation in graded_violations(bare)]
    assert set(made) == {"original", "reversed", "shuffled", "frozen", "slow motion", "teleport", "vanish"}
