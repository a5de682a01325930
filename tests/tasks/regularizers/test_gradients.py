import torch
from torch import nn
from torch.testing import assert_close

from worldgen.tasks.regularizers.gradients import ConflictFreeGradients, SummedGradients, conflict_free


def test_neither_loss_grows_along_the_step_though_their_sum_makes_one_grow():
    own, other = torch.tensor([1.0, 0.2, 0.0]), torch.tensor([-4.0, 0.3, 1.0])
    assert (own + other).dot(own) < 0
    step = conflict_free(own, other)
    assert step.dot(own) > 0 and step.dot(other) > 0
    assert_close(step.dot(own) / own.norm(), step.dot(other) / other.norm())


def test_gradients_that_are_orthogonal_and_alike_are_what_they_were():
    assert_close(conflict_free(torch.tensor([2.0, 0]), torch.tensor([0, 2.0])), torch.tensor([2.0, 2.0]))
    own = torch.tensor([1.0, 2.0])
    assert_close(conflict_free(own, 3 * own), 4 * own)
    assert_close(conflict_free(own, 0 * own), own)


def test_the_gradient_is_the_step_and_the_value_that_of_the_sum():
    weight, unused = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.ones(3))
    loss = (weight * torch.tensor([1.0, 0.5])).sum()
    added = (weight * torch.tensor([-3.0, 1.0])).sum()
    for rule in (SummedGradients(), ConflictFreeGradients()):
        weight.grad = None
        both = rule(loss, added, [weight, unused])
        assert_close(both, loss + added)
        both.backward(retain_graph=True)
        if isinstance(rule, SummedGradients):
            assert_close(weight.grad, torch.tensor([-2.0, 1.5]))
        else:
            assert_close(weight.grad, conflict_free(torch.tensor([1.0, 0.5]), torch.tensor([-3.0, 1.0])))
            assert unused.grad is None or not unused.grad.any()
