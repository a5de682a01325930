import numpy as np
import pytest
import torch

from worldgen.data.packing import Packed, PackingLoader, pack_columns

TOKENS = np.random.default_rng(0).choice([4, 9, 16, 30], size=300).tolist()


class Numbers:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def make(tokens: list = TOKENS, most: int = 64, seed: int = 3) -> PackingLoader:
    return PackingLoader(Numbers(len(tokens)), tokens, most, torch.tensor, seed, mark="these")


def epoch_of(loader: PackingLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


def test_no_batch_holds_more_tokens_and_hardly_any_holds_much_less() -> None:
    loader = make()
    epochs = [epoch_of(loader) for _ in range(3)]
    for batches in epochs:
        assert len(batches) == len(loader) == -(-sum(TOKENS) // 64)
        sizes = [sum(TOKENS[number] for number in batch) for batch in batches]
        assert max(sizes) <= 64 and sum(sizes) > 0.95 * sum(TOKENS)
        numbers = [number for batch in batches for number in batch]
        assert len(set(numbers)) == len(numbers)
        assert any(len({TOKENS[number] for number in batch}) > 1 for batch in batches)
    assert epochs[0] != epochs[1]
    assert epoch_of(make()) == epochs[0] != epoch_of(make(seed=4))


def test_clips_of_every_size_are_left_out_equally_seldom() -> None:
    loader = make()
    left: dict[int, int] = {}
    for epoch in range(40):
        seen = {number for batch in loader.order_of(epoch) for number in batch}
        for number in set(range(300)) - seen:
            left[number] = left.get(number, 0) + 1
    assert max(left.values()) <= 8


def test_a_loader_goes_on_in_mid_epoch_with_the_batches_that_were_left() -> None:
    whole = epoch_of(make())
    stopped = make()
    batches = iter(stopped)
    first = [next(batches).tolist() for _ in range(5)]
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    assert first + epoch_of(resumed) == whole


@pytest.mark.parametrize(
    "other, name", [(make(most=65), "packed_tokens"), (make(TOKENS[::-1]), "tokens of clips")]
)
def test_other_batches_are_not_gone_on_with(other: PackingLoader, name: str) -> None:
    with pytest.raises(ValueError, match=f"the same batches: {name} was"):
        other.load_state_dict(make().state_dict())


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="the largest clip, which has 30 tokens; data.packed_tokens is 29"):
        make(most=29)
    with pytest.raises(ValueError, match="got 2 for 3 items"):
        PackingLoader(Numbers(3), [1, 2], 8, torch.tensor)


def test_rows_of_one_shape_are_stacked_and_others_lie_beside_them() -> None:
    rows = [(torch.full((1, t, 2), float(n)), torch.ones(1, 3)) for n, t in enumerate((4, 1, 4, 6))]
    packed = pack_columns(rows)
    assert isinstance(packed, Packed) and len(packed) == 4
    assert [tuple(part[0].shape) for part in packed.parts] == [(2, 4, 2), (1, 1, 2), (1, 6, 2)]
    assert packed.parts[0][0][:, 0, 0].tolist() == [0.0, 2.0] and len(packed.parts[0][1]) == 2
