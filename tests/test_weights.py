"""What is kept of a network, and taken over from another one."""

import torch

from tests.models import build


def test_weights_of_another_model_are_taken_where_they_fit():
    first, second = build(), build()
    for parameter in second.parameters():
        torch.nn.init.normal_(parameter)
    state = first.trained_state()
    other, missing = sorted(state)[:2]
    given = {name: value for name, value in state.items() if name != missing}
    given[other] = torch.zeros(3, 3, 3)
    before = {name: value.clone() for name, value in second.trained_state().items()}
    assert second.take_shared(given) == [other, missing]
    for name, value in second.trained_state().items():
        assert torch.equal(value, before[name] if name in (other, missing) else state[name]), name
