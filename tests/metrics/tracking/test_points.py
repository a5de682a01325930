"""Points on things: where these are, how surely, and what of it reaches the checks."""

import math

import pytest
import torch

from tests.metrics.tracking.trackers import HUB, G, discs, thrown, tiny_clone
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.motions.scale import scale_from_gravity, to_metres
from worldgen.metrics.tracking.linking import Tracked, Untrackable
from worldgen.metrics.tracking.motion import track_motion
from worldgen.metrics.tracking.points import CoTracker, Followed, carried_noise, follow_points
from worldgen.types import GRAVITY, Clip

METRES = GRAVITY / (G * 25**2)
"""Per pixel: the throw falls with 9.81 m/s^2."""


class Turning:
    """Points on a disc that is thrown and turns; every fifth slips off and stays where it was."""

    identity = "turning"

    def __init__(self, center: list[tuple[float, float]], spin: float, slips: bool = False) -> None:
        self.center, self.spin, self.slips = torch.tensor(center, dtype=torch.float64), spin, slips

    def follow(self, frames, queries):
        given = queries[:, 0].long()
        assert torch.equal(queries, queries.round()) is False and (queries[:, 1:] >= 0).all()
        off = torch.view_as_complex((queries[:, 1:] - self.center[given]).contiguous())
        angle = self.spin * (torch.arange(len(frames))[:, None] - given)
        places = self.center[:, None] + torch.view_as_real(off * torch.polar(torch.ones_like(angle), angle))
        if self.slips:
            places[:, ::5] = queries[None, ::5, 1:]
        return Followed(places, torch.ones(places.shape[:2], dtype=torch.bool))


@pytest.fixture(scope="module")
def clip() -> Clip:
    return discs(thrown())


@pytest.fixture(scope="module")
def blobs(clip) -> Tracked:
    return track_motion(clip)


def test_a_clone_is_opened_and_follows_a_thrown_disc_through_the_file_format(clip, blobs, tmp_path):
    tracker = CoTracker(str(tiny_clone(tmp_path / "co-tracker")))
    found = follow_points(clip, blobs, tracker)
    place = torch.tensor(thrown(), dtype=torch.float64)
    torch.testing.assert_close(found.trajectory.position[0, :, 0, 0], place[:, 0], atol=0.05, rtol=0)
    torch.testing.assert_close(found.trajectory.position[0, :, 0, 2], -place[:, 1], atol=0.05, rtol=0)
    assert found.trajectory.present.all() and found.sigma == pytest.approx(0, abs=1e-4)
    report = assess(
        to_metres(found.trajectory, METRES),
        clip="throw",
        source="readout",
        floor=None,
        sigma=carried_noise(to_metres(found.trajectory, METRES), found.sigma * METRES),
    )
    assert report["free_fall"].value < 0.005  # of g


def test_the_spread_of_the_points_is_the_noise_of_their_median(clip, blobs, tmp_path):
    """Columns and rows off by +- 3 pixels in turns: a spread of 1.4826 * 3, over the root of 32 points."""
    found = follow_points(clip, blobs, CoTracker(str(tiny_clone(tmp_path / "a", spread=3.0))))
    wanted = 1.25 * 1.4826 * 3 / math.sqrt(32)
    assert found.sigma == pytest.approx(wanted * math.sqrt(12 / 13), rel=0.15)  # exact where they were given
    twice = follow_points(clip, blobs, CoTracker(str(tiny_clone(tmp_path / "b", spread=6.0))))
    assert twice.sigma == pytest.approx(2 * found.sigma, rel=0.1)


def test_uncertain_points_keep_free_fall_from_being_judged(clip, blobs, tmp_path):
    """The same path: sure points let it be judged, unsure ones do not, although the medians fall as well."""
    verdicts = []
    for spread in (0.5, 9.0):
        tracked = follow_points(clip, blobs, CoTracker(str(tiny_clone(tmp_path / str(spread), spread))))
        metres = to_metres(tracked.trajectory, METRES)
        noise = carried_noise(metres, tracked.sigma * METRES)
        report = assess(metres, clip="throw", source="readout", floor=None, sigma=noise)
        verdicts.append(report["free_fall"])
        assert (scale_from_gravity(tracked.trajectory, GRAVITY, tracked.sigma).scale is None) == (spread > 1)
    assert verdicts[0].applies and verdicts[0].value < 0.02
    assert not verdicts[1].applies and "noise moves the acceleration by" in verdicts[1].note
    blind = assess(metres, clip="throw", source="readout", floor=None)
    assert blind["free_fall"].applies  # the path alone does not show how unsure it is


def test_what_the_flights_show_counts_where_the_points_claim_less(clip, blobs):
    path = blobs.trajectory
    assert carried_noise(path, None) is None and carried_noise(path, 2.0) == 2.0
    assert carried_noise(path, 1e-9) > 1e-4


@pytest.mark.parametrize("slips", [False, True])
def test_a_turn_moves_no_center_and_points_that_slip_off_do_not_count(clip, blobs, slips):
    found = follow_points(clip, blobs, Turning(thrown(), spin=0.4, slips=slips))
    place = torch.tensor(thrown(), dtype=torch.float64)
    torch.testing.assert_close(found.trajectory.position[0, :, 0, 0], place[:, 0], atol=0.15, rtol=0)
    torch.testing.assert_close(found.trajectory.position[0, :, 0, 2], -place[:, 1], atol=0.15, rtol=0)
    assert found.sigma < 0.03


def test_a_hidden_thing_is_absent_and_one_that_is_seen_late_is_followed_back(tmp_path):
    tracker = CoTracker(str(tiny_clone(tmp_path / "clone")))
    places = list(thrown())
    places[5] = places[6] = None
    hidden = discs(places)
    found = follow_points(hidden, track_motion(hidden), tracker).trajectory
    assert found.present[0, :, 0].tolist() == [True] * 5 + [False] * 2 + [True] * 6
    entering = discs([(-2.0 + 5 * t, 60.0) for t in range(14)])  # wholly in the image from frame 2 on
    found = follow_points(entering, track_motion(entering), tracker).trajectory
    assert found.present[0, :, 0].all()
    wanted = torch.tensor([-2.0 + 5 * t for t in range(2, 14)], dtype=torch.float64)
    torch.testing.assert_close(found.position[0, 2:, 0, 0], wanted, atol=0.1, rtol=0)


def test_tracks_against_a_moving_background_stay_so(clip, blobs):
    camera = torch.tensor([[2.0 * t, -1.0 * t] for t in range(13)], dtype=torch.float64)
    moved = Tracked(blobs.trajectory, camera)
    places = torch.tensor(thrown(), dtype=torch.float64) + camera
    found = follow_points(clip, moved, Turning(places.tolist(), spin=0.0))
    torch.testing.assert_close(found.trajectory.position, blobs.trajectory.position, atol=0.15, rtol=0)


def test_a_thing_without_visible_points_is_no_track(clip, blobs):
    class Blind(Turning):
        def follow(self, frames, queries):
            found = super().follow(frames, queries)
            return Followed(found.places * torch.nan, found.visible)

    with pytest.raises(Untrackable, match="the point tracker sees no thing in 6 frames: broken track"):
        follow_points(clip, blobs, Blind(thrown(), 0.0))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("return places[None], visible[None]", "return places, visible", r"must give tracks .*\[8, 2, 2\]"),
        ("return places[None], visible[None]", "return places[None], visible[None].float()", "float32"),
        ("return places[None], visible[None]", "return {'tracks': places}", "failed: ValueError: not enough"),
        ("queries, backward_tracking", "points, backward_tracking", "failed: .*argument 'queries'"),
        ("assert video.max() <= 255", "assert video.max() > 255", "failed: AssertionError"),
        ('"spread"', '"width"', "Missing key.*width"),
        ("def cotracker3_offline", "def tapir", "Cannot find callable cotracker3_offline"),
        ("return Predictor()", "return {}", "cotracker3_offline returns a dict, not a module"),
        ("import torch", "import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
    ],
)
def test_what_is_no_point_tracker_is_one_sentence(tmp_path, before, after, told):
    assert before in HUB
    folder = tiny_clone(tmp_path / "clone", code=HUB.replace(before, after, 1))
    with pytest.raises(ValueError, match=told):
        CoTracker(str(folder))


def test_a_folder_that_lacks_something_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a clone of .*nowhere has no hubconf.py. Check"):
        CoTracker(str(tmp_path / "nowhere"))
    folder = tiny_clone(tmp_path / "clone")
    weights = folder / "checkpoints" / "scaled_offline.pth"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="must be a point tracker .hubconf.py with cotracker3_offline"):
        CoTracker(str(folder))
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="clone has no checkpoints/scaled_offline.pth"):
        CoTracker(str(folder))


def test_another_tracker_has_another_name(tmp_path):
    names = {CoTracker(str(tiny_clone(tmp_path / "x", spread=1.0))).identity}
    torch.save({"spread": torch.tensor(2.0)}, tmp_path / "x" / "checkpoints" / "scaled_offline.pth")
    names.add(CoTracker(str(tmp_path / "x")).identity)
    (tmp_path / "x" / "hubconf.py").write_text(HUB.replace("0.2 *", "0.3 *"))
    names.add(CoTracker(str(tmp_path / "x")).identity)
    assert len(names) == 3


def test_two_visible_points_do_not_tell_how_sure_a_place_is(clip, blobs):
    class Pair:
        """Follows the first two points only, each as far as the thing goes."""

        def follow(self, frames, queries):
            path = blobs.in_image.position[0, :, 0][:, [0, 2]] * torch.tensor([1.0, -1.0])
            first = int(queries[0, 0])
            places = queries[None, :, 1:].double() + (path - path[first])[:, None]
            visible = torch.zeros(places.shape[:2], dtype=torch.bool)
            visible[:, :2] = True
            return Followed(places, visible)

    found = follow_points(clip, blobs, Pair())
    assert found.trajectory.present.all() and found.sigma is None
