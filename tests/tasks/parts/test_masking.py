import pytest
import torch
from torch.testing import assert_close

from worldgen.tasks.parts.masking import Masking
from worldgen.tasks.parts.vjepa import FUTURE, LONG, SHORT

TIMES, SIDE = 5, 8


def draw(mask, clips=6, seed=0, times=TIMES, side=SIDE):
    return mask.draw(clips, times, side, torch.Generator().manual_seed(seed))


def grid(places, times=TIMES, side=SIDE):
    """True at the given places: (B, times, side, side)."""
    flat = torch.zeros(len(places), times * side**2, dtype=torch.bool)
    return flat.scatter(1, places, True).unflatten(1, (times, side, side))


@pytest.mark.parametrize("mask", [SHORT, LONG, FUTURE, Masking(2, 0.3, seen=(0.4, 0.8))])
@pytest.mark.parametrize("seed", range(8))
def test_places_are_ascending_and_none_is_both_seen_and_hidden(mask, seed):
    visible, hidden = draw(mask, seed=seed)
    for places in (visible, hidden):
        assert places.shape[1] >= 1
        assert (places.diff(dim=1) > 0).all() and places.min() >= 0 and places.max() < TIMES * SIDE**2
    assert not (grid(visible) & grid(hidden)).any()


@pytest.mark.parametrize("mask", [SHORT, LONG])
def test_blocks_are_hidden_over_the_whole_time(mask):
    visible, hidden = draw(mask)
    for places in (visible, hidden):
        cells = grid(places)
        assert_close(cells, cells[:, :1].expand_as(cells))


def test_one_block_is_one_rectangle_of_the_share_and_aspect_asked_for():
    # One clip: a batch keeps as many places as the clip with the fewest.
    for seed in range(20):
        hidden = grid(draw(Masking(1, 0.25, aspect=(0.25, 4.0)), clips=1, seed=seed).hidden)[0, 0]
        rows, columns = hidden.any(dim=1), hidden.any(dim=0)
        height, width = int(rows.sum()), int(columns.sum())
        assert_close(hidden, rows[:, None] & columns[None])
        assert rows.nonzero().max() - rows.nonzero().min() + 1 == height
        assert abs(height * width - 0.25 * SIDE**2) <= 5  # a side is a whole number of cells
    shapes = {
        tuple(grid(draw(Masking(1, 0.25, aspect=(4.0, 4.0)), 1, seed).hidden)[0, 0].sum(dim=0).tolist())
        for seed in range(20)
    }
    assert all(set(shape) == {0, 8} and shape.count(8) == 2 for shape in shapes) and len(shapes) > 3


def test_the_two_masks_hide_what_the_paper_says():
    """Bardes et al.: about nine tenths of the picture; here, on a smaller grid, at least half of it."""
    shares = {
        name: torch.stack([grid(draw(mask, 1, seed).hidden).float().mean() for seed in range(200)]).mean()
        for name, mask in (("short", SHORT), ("long", LONG))
    }
    assert 0.6 < shares["short"] < 0.85 and 0.75 < shares["long"] < 1


def test_the_future_is_hidden_everywhere_and_the_past_seen_whole():
    lengths = set()
    for seed in range(40):
        split = draw(FUTURE, 2, seed, times=8)
        visible, hidden = grid(split.visible, 8), grid(split.hidden, 8)
        length = int(visible[0, :, 0, 0].sum())
        assert visible[:, :length].all() and hidden[:, length:].all()
        assert split.visible.shape[1] + split.hidden.shape[1] == 8 * SIDE**2
        lengths.add(length)
    assert lengths == {1, 2, 3, 4, 5, 6}


def test_some_of_the_future_is_always_left():
    split = draw(Masking(0, seen=(0.95, 0.95)))  # of five times, 4.75
    assert split.hidden.shape[1] == SIDE**2 and split.hidden.min() == 4 * SIDE**2


def test_blocks_and_the_future_together():
    split = draw(Masking(2, 0.2, seen=(0.4, 0.4)))
    visible, hidden = grid(split.visible), grid(split.hidden)
    assert hidden[:, 2:].all() and not visible[:, 2:].any()
    assert visible[:, :2].any() and hidden[:, :2].any()


def test_clips_of_a_batch_have_masks_of_their_own_and_seeds_repeat_them():
    first, again, other = draw(SHORT), draw(SHORT), draw(SHORT, seed=1)
    assert (first.visible == again.visible).all() and (first.hidden == again.hidden).all()
    assert len({tuple(row.tolist()) for row in first.visible}) > 4
    assert first.visible.shape != other.visible.shape or (first.visible != other.visible).any()


@pytest.mark.parametrize("side", [2, 3, 4])
def test_something_is_always_left_to_see_and_to_predict(side):
    for seed in range(200):
        split = draw(Masking(4, 0.9), 3, seed, times=2, side=side)
        assert split.visible.shape[1] >= 2 and split.hidden.shape[1] >= 2


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"blocks": -1}, "blocks >= 0 that cover a share in .0, 1.; got -1 of 0.15"),
        ({"blocks": 1, "share": 1.0}, "got 1 of 1.0"),
        ({"blocks": 1, "aspect": (2.0, 1.0)}, r"range of positive numbers; got \(2.0, 1.0\)"),
        ({"blocks": 1, "seen": (0.0, 0.5)}, r"range within \(0, 1\]; got \(0.0, 0.5\)"),
        ({"blocks": 0}, "must hide something; give it blocks, or let seen end below 1"),
    ],
)
def test_bad_settings_get_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Masking(**settings)
