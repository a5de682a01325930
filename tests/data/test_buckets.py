from collections import Counter
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.buckets import BucketLoader
from worldgen.data.loader import ResumableLoader
from worldgen.data.shards.shards import write_shards
from worldgen.data.sources import ShardedClips

SHAPES = [(1, 8, 8)] * 13 + [(4, 8, 8)] * 21 + [(4, 8, 16)] * 9


class Numbers:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def make(batch_size: int = 4, shapes: list = SHAPES, **more) -> BucketLoader:
    return BucketLoader(Numbers(len(shapes)), shapes, batch_size, torch.tensor, **{"seed": 3, **more})


def flat(batches: list) -> list[int]:
    return [int(number) for batch in batches for number in batch]


def test_a_batch_holds_one_shape_and_an_epoch_each_clip_once() -> None:
    loader = make()
    first, second = list(loader), list(loader)
    assert len(loader) == len(first) == len(second) == 13 // 4 + 21 // 4 + 9 // 4
    for epoch in (first, second):
        assert len(set(flat(epoch))) == len(flat(epoch)) == 4 * len(loader)
        kinds = [{SHAPES[number] for number in batch.tolist()} for batch in epoch]
        assert all(len(kind) == 1 for kind in kinds)
        assert Counter(shape for kind in kinds for shape in kind) == dict(
            zip(dict.fromkeys(SHAPES), (3, 5, 2), strict=True)
        )
    assert flat(first) != flat(second)
    assert [batch.tolist() for batch in make()] == [batch.tolist() for batch in first]
    assert flat(list(make(seed=4))) != flat(first)


@pytest.mark.parametrize("power, sizes", [(1.0, (16, 4, 2)), (2.0, (128, 8, 2)), (0.5, (5, 2, 2))])
def test_batches_by_compute_cost_no_more_than_one_of_the_largest_clips(power: float, sizes: tuple) -> None:
    shapes = [(1, 8, 8)] * 300 + [(4, 8, 8)] * 21 + [(4, 8, 16)] * 9
    loader = make(2, shapes, power=power)
    epoch = list(loader)
    assert len(loader) == len(epoch) == sum(n // size for n, size in zip((300, 21, 9), sizes, strict=True))
    for batch in epoch:
        (shape,) = {shapes[number] for number in batch.tolist()}
        cells = torch.tensor(shape).prod()
        assert len(batch) * cells**power <= 2 * 512**power < (len(batch) + 1) * cells**power
    assert len(set(flat(epoch))) == len(flat(epoch))
    partial = make(2, shapes, power=power, partial=True)
    batches = list(partial)
    assert len(batches) == len(partial) and sorted(flat(batches)) == list(range(330))
    alike = make(4, [(4, 8, 8)] * 21, power=power)
    assert [batch.tolist() for batch in alike] == [batch.tolist() for batch in make(4, [(4, 8, 8)] * 21)]


def test_a_run_goes_on_with_the_power_it_began_with() -> None:
    shapes = [(1, 8, 8)] * 300 + [(4, 8, 8)] * 21
    loader, state = make(2, shapes, power=1.0), make(2, shapes).state_dict()
    with pytest.raises(ValueError, match="power was 0.0 and is 1.0"):
        loader.load_state_dict(state)
    with pytest.raises(ValueError, match="power was 1.0 and is 0.0"):
        make(2, shapes).load_state_dict(loader.state_dict())
    make(2, shapes).load_state_dict({key: value for key, value in state.items() if key != "power"})


def test_shapes_without_cells_have_no_compute() -> None:
    with pytest.raises(ValueError, match="need shapes of whole numbers; got tall. Set power to 0"):
        make(2, ["tall", "tall", "wide", "wide"], power=1.0)
    with pytest.raises(ValueError, match=r"needs a full batch of 16; of \(1, 8, 8\) there are 13"):
        make(2, power=1.0)


def test_no_clip_is_always_left_out() -> None:
    loader = make()
    assert {number for _ in range(12) for number in flat(list(loader))} == set(range(len(SHAPES)))


def test_partial_batches_give_every_clip_in_every_epoch() -> None:
    loader = make(partial=True)
    batches = list(loader)
    assert len(loader) == len(batches) == 4 + 6 + 3
    assert sorted(flat(batches)) == list(range(len(SHAPES)))
    short = [place for place, batch in enumerate(batches) if len(batch) < 4]
    assert len(short) == 3 and min(short) < 10  # not always the last


def test_one_shape_is_batched_as_by_the_plain_loader() -> None:
    plain = ResumableLoader(Numbers(23), 4, torch.tensor, seed=3)
    assert [plain.order_of(epoch) for epoch in range(3)] == [
        make(shapes=[(4, 8, 8)] * 23).order_of(epoch) for epoch in range(3)
    ]


def share(loader: ResumableLoader, rank: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldgen.data.loader._processes", lambda: ranks)
    monkeypatch.setattr("worldgen.data.loader._rank", lambda: rank)


@pytest.mark.parametrize(("resumed", "workers"), [(1, 0), (2, 0), (3, 0), (3, 1)])
def test_ranks_share_an_epoch_and_others_take_it_up(
    monkeypatch: pytest.MonkeyPatch, resumed: int, workers: int
) -> None:
    epoch = make(partial=True).order_of(0)  # 13 batches
    seen, states = [], []
    for rank in range(2):
        share(make(), rank, 2, monkeypatch)
        loader = make(partial=True, workers=workers)
        assert len(loader) == 6
        for batch, _ in zip(loader, range(3), strict=False):
            seen.append(batch.tolist())
            if len(seen) % 3 == 0:
                break
        states.append(loader.state_dict())
    assert states[0] == states[1] and states[0]["given"] == 6
    steps = []
    for rank in range(resumed):
        share(make(), rank, resumed, monkeypatch)
        loader = make(partial=True, workers=workers)
        loader.load_state_dict(states[0])
        mine = [batch.tolist() for batch in loader]
        steps.append(len(mine))
        seen += mine
        assert len(list(loader)) == 13 // resumed  # the next epoch
    assert steps == [7 // resumed] * resumed
    left_out = [batch for batch in epoch if batch not in seen]
    assert len(left_out) == 7 % resumed and sorted(seen + left_out) == sorted(epoch)


class Recorder(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        self.seen.append(batch.tolist())
        return self.weight * batch.float().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (1, 5), (4, 1)])
def test_a_trainer_goes_on_with_another_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    def train(epochs: int, steps: int, resume: Path | None = None) -> list:
        saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = Trainer(max_steps=steps, max_epochs=epochs, accelerator="cpu", callbacks=[saver], **quiet)
        module = Recorder()
        trainer.fit(module, make(partial=True), ckpt_path=resume)
        return module.seen

    epochs = [make(partial=True).order_of(epoch) for epoch in range(2)]
    share(make(), 0, before, monkeypatch)
    assert train(2, 2) == epochs[0][0 : 2 * before : before]
    share(make(), 0, after, monkeypatch)
    first = epochs[0][2 * before :]
    wanted = first[0 : len(first) - len(first) % after : after]
    wanted += epochs[1][0 : 13 - 13 % after : after]
    seen = train(4, -1, tmp_path / "step=2.ckpt")  # Lightning's epochs have 13 // after steps at most
    assert seen[: len(wanted)] == wanted and len(seen) > len(wanted)


def test_clips_of_a_folder(tmp_path: Path, make_clip) -> None:
    clips = [make_clip(seed, frames=3 + seed % 2) for seed in range(6)]
    write_shards(clips, tmp_path)
    source = ShardedClips(tmp_path)
    assert source.shapes == [(3, 8, 8), (4, 8, 8)] * 3
    batches = list(BucketLoader(source, source.shapes, 3, stack_clips))
    assert sorted(batch.frames.shape[1] for batch in batches) == [3, 4]


def test_the_loader_refuses() -> None:
    with pytest.raises(ValueError, match=r"full batch of 10; of \(4, 8, 16\) there are 9, which would never"):
        make(batch_size=10)
    with pytest.raises(ValueError, match="needs the shape of each item; got 2 for 3 items"):
        BucketLoader(Numbers(3), [(1, 8, 8)] * 2, 1, torch.tensor)
    with pytest.raises(
        ValueError, match="same batches: shapes was .* and is .*, partial was False and is True"
    ):
        make(shapes=SHAPES[::-1], partial=True).load_state_dict(make().state_dict())
