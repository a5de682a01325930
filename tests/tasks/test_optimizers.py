import pytest
import torch
from torch import nn
from torch.testing import assert_close

from worldgen.diffusion.dit import DiT
from worldgen.tasks.optimizers import AdamW, Muon, SeveralOptimizers


def network():
    torch.manual_seed(0)
    return DiT(4, 5, 8, dim=16, depth=2, heads=2, patch=(1, 1, 1))


def give_gradients(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_matrices_of_blocks_are_muons_and_everything_else_is_adamws():
    module = network()
    module.to_patch.requires_grad_(False)
    muon, adamw = Muon().make(module, 1e-3, 0.1).members
    assert isinstance(muon, torch.optim.Muon) and isinstance(adamw, torch.optim.AdamW)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    ours, rest = (
        {names[id(p)] for group in one.param_groups for p in group["params"]} for one in (muon, adamw)
    )
    assert "blocks.0.feed_forward.0.weight" in ours
    assert all(name.startswith("blocks.") and name.endswith("weight") for name in ours)
    assert {"embed.proj.weight", "noise.0.weight", "blocks.0.table", "blocks.1.cross_norm.weight"} <= rest
    learned = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert ours | rest == learned and not ours & rest and not any("to_patch" in name for name in learned)


def test_together_they_do_what_each_does_alone():
    module, other = network(), network()
    together = Muon(momentum=0.9).make(module, 1e-2, 0.1)
    split = [[], []]
    for name, parameter in other.named_parameters():
        split[not (name.startswith("blocks.") and parameter.ndim == 2 and "table" not in name)].append(
            parameter
        )
    how = {"lr": 1e-2, "weight_decay": 0.1}
    alone = [
        torch.optim.Muon(split[0], momentum=0.9, adjust_lr_fn="match_rms_adamw", **how),
        torch.optim.AdamW(split[1], betas=(0.9, 0.95), **how),
    ]
    for step in range(3):
        for one in (module, other):
            give_gradients(one, step)
        together.step()
        for one in alone:
            one.step()
    for ours, theirs in zip(module.parameters(), other.parameters(), strict=True):
        assert_close(ours, theirs)


def test_a_schedule_reaches_both_also_after_a_checkpoint():
    def begin():
        module = network()
        optimizer = Muon().make(module, 1e-2, 0.1)
        return module, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)

    def run(module, optimizer, schedule, steps):
        for step in steps:
            give_gradients(module, step)
            optimizer.step()
            schedule.step()

    module, optimizer, schedule = begin()
    run(module, optimizer, schedule, range(4))
    assert {group["lr"] for one in optimizer.members for group in one.param_groups} == {1e-2 / 16}

    first, before, curve = begin()
    run(first, before, curve, range(2))
    second, after, other = begin()
    second.load_state_dict(first.state_dict())
    after.load_state_dict(before.state_dict())
    other.load_state_dict(curve.state_dict())
    run(second, after, other, range(2, 4))
    for ours, theirs in zip(second.parameters(), module.parameters(), strict=True):
        assert_close(ours, theirs, atol=0, rtol=0)
    assert isinstance(after, SeveralOptimizers)
    with pytest.raises(ValueError, match="must be of 2 optimizers together; it has 0"):
        after.load_state_dict(AdamW().make(second, 1e-2, 0.1).state_dict())


def test_gradients_are_computed_once():
    module, calls = network(), []

    def closure():
        calls.append(torch.is_grad_enabled())
        give_gradients(module, 0)
        return torch.ones(())

    with torch.no_grad():
        assert float(Muon().make(module, 1e-3, 0.1).step(closure)) == 1
    assert calls == [True]


def test_a_network_without_matrices_in_blocks_is_refused():
    with pytest.raises(ValueError, match="Muon needs linear layers in blocks that learn; Linear has none"):
        Muon().make(nn.Linear(3, 3), 1e-3, 0.0)
