import numpy as np
import pytest
import torch

from worldgen.metrics.tracking.linking import (
    PATIENCE,
    SHORTEST,
    Blob,
    Track,
    Tracked,
    Untrackable,
    assemble,
    find_torn,
    link,
    moving_tracks,
)


def passing(frames: int = 12, missing: tuple[int, ...] = ()) -> list[list[Blob]]:
    """Two blobs that pass each other; one of them is not found in some frames."""
    return [
        [Blob(57 - 5.0 * frame, 10.0, 30.0)] + ([] if frame in missing else [Blob(5.0 * frame, 10.0, 30.0)])
        for frame in range(frames)
    ]


def test_things_keep_their_way_when_they_pass():
    tracks = link(passing())
    assert len(tracks) == 2
    for track in tracks:
        steps = np.diff([track.blobs[frame].x for frame in sorted(track.blobs)])
        assert len(set(steps)) == 1 and abs(steps[0]) == 5
    assert tracks[0].travel == 55 and tracks[0].radius == pytest.approx((30 / np.pi) ** 0.5)


def test_a_gap_is_bridged_while_patience_lasts():
    gap = tuple(range(8, 8 + PATIENCE - 1))
    assert len(link(passing(20, gap))) == 2
    assert len(link(passing(20, (*gap, gap[-1] + 1)))) == 3


def test_another_label_is_another_thing():
    named = [[Blob(5.0 * frame, 10.0, 30.0, label="cup" if frame < 6 else "dog")] for frame in range(12)]
    assert [sorted(track.blobs) for track in link(named)] == [list(range(6)), list(range(6, 12))]


def test_what_does_not_last_or_move_is_refused_with_the_reason():
    with pytest.raises(Untrackable, match="nothing moves"):
        moving_tracks([], "blob")
    with pytest.raises(Untrackable, match=f"no blob holds for {SHORTEST} frames"):
        moving_tracks(link(passing(SHORTEST - 1)), "blob")
    with pytest.raises(Untrackable, match="nothing moves farther than its radius"):
        moving_tracks(link([[Blob(9.0, 9.0, 30.0)]] * 9), "blob")
    assert len(moving_tracks(link(passing()), "blob")) == 2


def test_columns_and_rows_become_x_and_minus_z_of_the_whole_picture():
    tracks = link(passing(12, (3,)))
    found = assemble(tracks, 12, 2.0, np.array([1.0, 4.0]), torch.tensor([25.0]))
    gone = next(index for index, track in enumerate(tracks) if 3 not in track.blobs)
    assert not found.present[0, 3, gone] and found.present.sum() == 23
    x, z = found.position[0, 5, gone, 0].item(), found.position[0, 5, gone, 2].item()
    assert (x, z) == ((25 - 1 + 0.5) * 2 - 0.5, -((10 - 4 + 0.5) * 2 - 0.5))
    camera = torch.stack([torch.arange(12.0), 2 * torch.arange(12.0)], dim=-1)
    moved = Tracked(found, camera).in_image.position[0, 5, gone]
    assert (moved[0].item(), moved[2].item()) == (x + 5, z - 10)
    assert Tracked(found, None).in_image is found


@pytest.mark.parametrize(
    ("areas", "torn"),
    [
        ([100, 104, 97, 101, 95, 99], set()),  # noise at the outline
        ([100, 108, 117, 126, 136, 147], set()),  # it comes nearer
        ([30, 34, 28, 33, 29, 31], set()),  # small, so that noise is a larger share
        ([100, 100, 70, 100, 100, 100], {1, 2, 3}),  # a part is hidden
        ([100, 100, 100, 160, 160, 160], {2, 3}),  # another thing joins it
    ],
)
def test_a_jump_of_area_tells_that_the_middle_jumps(areas, torn):
    track = Track({frame: Blob(3.0 * frame, 8.0, float(area)) for frame, area in enumerate(areas)})
    assert set(find_torn([track], 6)[:, 0].nonzero()[:, 0].tolist()) == torn


def test_frames_that_are_not_there_tear_nothing():
    track = Track({frame: Blob(3.0 * frame, 8.0, area) for frame, area in ((0, 100.0), (3, 130.0))})
    assert not find_torn([track], 4).any()
