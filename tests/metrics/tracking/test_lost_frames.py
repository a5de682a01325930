"""Tracks of a video that lost frames, on the times at which it was filmed."""

import torch

from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.metrics.tracking.linking import Tracked
from worldgen.metrics.tracking.lost_frames import fill_clip, fill_tracks, lost_places
from worldgen.types import Clip


def test_what_is_not_filmed_is_not_seen() -> None:
    places = (0, 1, 4, 5)
    position = torch.zeros(1, 4, 1, 3, dtype=torch.float64)
    position[0, :, 0, 0] = torch.tensor([0.0, 1, 4, 5])
    present = torch.tensor([[[True], [True], [False], [True]]])
    extent = torch.ones(1, 1, 3, dtype=torch.float64)
    tracks = trajectory_of(position, present, torch.tensor([0.1]), extent=extent, metric=False)
    torn = torch.tensor([[False], [True], [False], [False]])
    filled = fill_tracks(Tracked(tracks, torch.arange(8.0).view(4, 2), torn=torn), places)
    assert lost_places(places).tolist() == [False, False, True, True, False, False]
    assert filled.trajectory.present[0, :, 0].tolist() == [True, True, False, False, False, True]
    seen = filled.trajectory.present
    assert filled.trajectory.position[..., 0][seen].tolist() == [0, 1, 5]
    assert filled.camera is not None and filled.camera[:, 0].tolist() == [0, 2, 2, 2, 4, 6]
    assert filled.torn is not None and filled.torn[:, 0].tolist() == [False, True, True, True, False, False]
    frames = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2) / 4
    held = fill_clip(Clip(frames, torch.tensor([10.0]), ("",)), places)
    assert (held.frames[0, :, 0, 0, 0] * 4).tolist() == [0, 1, 1, 1, 2, 3]
