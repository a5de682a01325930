import pytest
import torch
from torch.testing import assert_close

from worldgen.physics.alignment import feature_distance, on_common_grid, relation_distance


def tokens(*shape, seed=0):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_relations_do_not_see_length_rotation_or_width():
    """Cosines stay: any orthogonal map into any width is as good as the tokens themselves."""
    other = tokens(3, 2, 2, 8)
    turn, _ = torch.linalg.qr(tokens(12, 12)[0])
    turned = 3 * torch.nn.functional.pad(other, (0, 4)) @ turn
    assert_close(relation_distance(turned, other, 0.0), other.new_zeros(()), atol=1e-9, rtol=0)
    assert relation_distance(tokens(3, 2, 2, 8, seed=1), other, 0.0) > 0.3


def test_relations_are_those_of_videorepa():
    """Written out pair by pair: all of a frame, and those of different frames, the mean of each."""
    own, other, margin = tokens(2, 1, 3, 4), tokens(2, 1, 3, 5, seed=1), 0.2
    within, across = [], []
    for clip in range(2):
        for t in range(2):
            for u in range(2):
                for a in range(3):
                    for b in range(3):
                        cosines = [
                            torch.cosine_similarity(x[clip, t, 0, a], x[clip, u, 0, b], dim=0)
                            for x in (own, other)
                        ]
                        fault = ((cosines[0] - cosines[1]).abs() - margin).clamp(min=0)
                        (within if t == u else across).append(fault)
    expected = torch.stack(within).mean() + torch.stack(across).mean()
    assert_close(relation_distance(own, other, margin), expected)


def test_a_margin_forgives_and_a_permutation_of_tokens_does_not_go_unseen():
    own, other = tokens(3, 2, 2, 8), tokens(3, 2, 2, 8, seed=1)
    largest = relation_distance(own, other, 2.0)
    assert largest == 0
    assert relation_distance(own, other, 0.1) < relation_distance(own, other, 0.0)
    swapped = other.flip(1)  # frames in another order
    assert relation_distance(swapped, other, 0.0) > 0.1
    both = [x.flip(1).flip(3) for x in (own, other)]  # both alike: the same pairs
    assert_close(relation_distance(*both, 0.1), relation_distance(own, other, 0.1))


def test_one_cell_a_frame_relates_over_time_alone():
    own, other = tokens(4, 1, 1, 8), tokens(4, 1, 1, 8, seed=1)
    pairs = ~torch.eye(4, dtype=torch.bool)
    cosines = [
        torch.cosine_similarity(x[:, :, 0, 0, None], x[:, None, :, 0, 0], dim=-1) for x in (own, other)
    ]
    expected = (cosines[0] - cosines[1]).abs()[:, pairs].mean()
    assert_close(relation_distance(own, other, 0.0), expected)


@pytest.mark.parametrize("grid", [(1, 2, 2), (3, 1, 1), (2, 2, 1)])
def test_gradients_of_both(grid):
    own, other = tokens(*grid, 3).requires_grad_(), tokens(*grid, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: relation_distance(x, other, 0.05), own)
    assert torch.autograd.gradcheck(lambda x: feature_distance(x, other), own)


def test_features_are_one_minus_cosine():
    other = tokens(2, 2, 2, 4)
    assert_close(feature_distance(2 * other, other), other.new_zeros(()), atol=1e-12, rtol=0)
    assert_close(feature_distance(-other, other), other.new_full((), 2.0))


def test_the_common_grid_is_the_coarser_one_along_each_axis():
    own, other = tokens(4, 1, 6, 3), tokens(2, 2, 3, 5)
    first, second = on_common_grid(own, other)
    assert first.shape == (2, 2, 1, 3, 3) and second.shape == (2, 2, 1, 3, 5)
    assert_close(first[:, 0, 0, 0], own[:, :2, 0, :2].mean(dim=(1, 2)))
    assert_close(second[:, 1, 0, 2], other[:, 1, :, 2].mean(dim=1))


def test_other_grids_one_token_and_a_negative_margin_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 3, 2, 2\) and \(2, 3, 1, 2\). Bring them there"):
        relation_distance(tokens(3, 2, 2, 4), tokens(3, 1, 2, 4))
    with pytest.raises(ValueError, match="two tokens or more; got one"):
        relation_distance(tokens(1, 1, 1, 4), tokens(1, 1, 1, 4))
    with pytest.raises(ValueError, match="must not be negative; got -0.1"):
        relation_distance(tokens(3, 2, 2, 4), tokens(3, 2, 2, 4), -0.1)
