"""The learning rate's curve, and what a step draws at random."""

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule

from tests.tasks.judged import generator
from worldgen.tasks.schedule import draw_step, require_training, step_generator, warm_then_decay


def test_the_rate_warms_up_stays_and_falls_to_zero():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warm_then_decay(optimizer, 10, 100)["scheduler"]
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10:61] == pytest.approx([2.0] * 51)
    assert rates[80] == pytest.approx(1.0) and rates[100] == 0


def test_a_step_draws_the_same_again_and_no_two_steps_do(truth):
    class Task(LightningModule):
        trainer, global_step, global_rank = SimpleNamespace(accumulate_grad_batches=2, world_size=2), 3, 0

    def drawn(seed=0, index=0, **place):
        task = type("Elsewhere", (Task,), place)()
        return draw_step(model, latents, step_generator(task, seed, index))

    model = generator()
    latents = model.encode(truth)
    first = drawn()
    which, sigma, eps, _ = first
    assert which.shape == sigma.shape == (4,) and eps.shape == latents.z.shape
    assert bool(((sigma >= 0) & (sigma <= 1)).all()) and bool((which < len(model.contexts)).all())
    assert all(torch.equal(one, again) for one, again in zip(first, drawn(), strict=True))
    for change in ({"global_step": 4}, {"global_rank": 1}, {"seed": 1}, {"index": 1}):
        assert not torch.equal(drawn(**change)[2], eps), change
    alone = SimpleNamespace(accumulate_grad_batches=2, world_size=1)
    second = drawn(trainer=alone, index=1)[2]  # batch of a step
    assert torch.equal(second, drawn(global_rank=1)[2])


def test_numbers_of_an_optimizer_have_limits() -> None:
    require_training(0.0, 0, 0.0)
    for numbers, said in (
        ((-1.0, 1), "model.lr"),
        ((1.0, -1), "model.warmup"),
        ((1.0, 1, math.nan), "model.weight"),
    ):
        with pytest.raises(ValueError, match=rf"{said}\w* must be at least 0; got "):
            require_training(*numbers)


def test_no_warmup_is_the_peak_at_once() -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    warm_then_decay(optimizer, 0, 10)
    assert optimizer.param_groups[0]["lr"] == 1.0
