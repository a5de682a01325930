"""Adapters in small networks with random weights, of the very classes that the pretrained ones have."""

import pytest
import torch
from jsonargparse import ArgumentParser
from torch.testing import assert_close

from tests.encoders.networks import PLACES, made, plain, run, t5, tensors, train, vjepa2
from worldgen.encoders.adapterhub import IA3, Bottleneck, Prefix
from worldgen.encoders.adapters import Adapter
from worldgen.encoders.compositions import Fuse, Saved, Stack
from worldgen.encoders.lora import Lora, SavedLora

MERGED = [place for place in PLACES if not isinstance(place.values[0], (Bottleneck, Prefix))]


@pytest.mark.parametrize("adapter, make", PLACES)
def test_only_the_adapter_learns_and_ejecting_it_restores_the_network(adapter, make):
    network = made(make)
    before, weights = run(network), tensors(network)
    adapter.attach(network)
    if isinstance(adapter, Prefix):
        assert (run(network) - before).abs().max() > 1e-4
    else:  # it starts from the network as it is
        assert_close(run(network), before, atol=1e-6, rtol=0)
    own = [weight for part in adapter.parts(network) for weight in part.parameters()]
    learn = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert {id(weight) for weight in own} == {id(parameter) for parameter in learn}
    assert adapter.count(network) == sum(parameter.numel() for parameter in learn) > 0
    first, last = train(network, adapter)
    assert last < first
    assert all(parameter.grad is not None for parameter in learn)
    adapter.eject(network)
    after = tensors(network)
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    assert torch.equal(run(network), before)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("adapter, make", MERGED)
def test_merged_it_computes_the_same_without_weights_of_its_own(adapter, make):
    network = made(make)
    names = tensors(network).keys()
    before = run(network)
    adapter.attach(network)
    train(network, adapter)
    expected = run(network).detach()
    assert (expected - before).abs().max() > 1e-3
    adapter.merge(network)
    assert_close(run(network), expected, atol=1e-5, rtol=1e-5)
    assert tensors(network).keys() == names
    with pytest.raises(ValueError, match="must be attached to .*; it is not. Attach it first."):
        adapter.eject(network)


@pytest.mark.parametrize("make", [t5, vjepa2])
def test_several_are_attached_and_one_acts(make):
    network = made(make)
    before = run(network)
    first, second = Lora(rank=2, name="first"), Lora(rank=4, name="second")
    first.attach(network)
    train(network, first)
    with_first = run(network).detach()
    second.attach(network)
    assert_close(run(network), before, atol=1e-6, rtol=0)
    assert first.count(network) == 0 < second.count(network)
    first.activate(network)
    assert torch.equal(run(network), with_first)
    first.deactivate(network)
    assert torch.equal(run(network), before)
    second.eject(network)
    first.activate(network)
    assert torch.equal(run(network), with_first)


@pytest.mark.parametrize(
    "adapter, make, other, width, message",
    [
        (
            Lora(rank=2),
            t5,
            t5,
            24,
            "The LoRA in .* must be of this encoder, T5EncoderModel; its .* is 16 wide",
        ),
        (
            Lora(rank=2),
            t5,
            vjepa2,
            24,
            "its encoder.block.0.* does not exist here. It belongs to another encoder",
        ),
        (
            Bottleneck(),
            t5,
            t5,
            24,
            "must be of this encoder, T5EncoderModel: its hidden_size is 16, here it is 24",
        ),
        (
            Bottleneck(),
            vjepa2,
            t5,
            24,
            "its model_type is vjepa2, here it is t5. It belongs to another encoder.",
        ),
    ],
)
def test_an_adapter_of_another_encoder_is_refused(adapter, make, other, width, message, tmp_path):
    network = made(make)
    adapter.attach(network)
    adapter.save(network, tmp_path)
    target = made(other, width)
    before, weights = run(target), tensors(target)
    saved = SavedLora(start=str(tmp_path)) if isinstance(adapter, Lora) else Saved(source=str(tmp_path))
    with pytest.raises(ValueError, match=message):
        saved.attach(target)
    assert tensors(target).keys() == weights.keys() and torch.equal(run(target), before)


def test_bad_adapters_get_a_sentence(tmp_path):
    network = made(t5)
    with pytest.raises(FileNotFoundError, match="A LoRA's folder must hold adapter_config.json and"):
        SavedLora(start=str(tmp_path)).attach(network)
    with pytest.raises(FileNotFoundError, match="An AdapterHub folder must hold adapter_config.json and"):
        Saved(source=str(tmp_path)).attach(network)
    with pytest.raises(
        ValueError, match=r"Lora.targets must name linear maps of T5EncoderModel; got \['nope'\]"
    ):
        Lora(targets=("nope",)).attach(network)
    with pytest.raises(ValueError, match="LoRA changes linear maps; ReLU has none"):
        Lora().attach(torch.nn.ReLU())
    with pytest.raises(ValueError, match="AdapterHub must know the network; it does not know Sequential"):
        Bottleneck().attach(made(plain))
    with pytest.raises(
        ValueError, match="Prefix must be known to AdapterHub for vjepa2; it is not. Use Lora."
    ):
        Prefix().attach(made(vjepa2))
    with pytest.raises(ValueError, match="Lora.rank must be at least 1; got 0."):
        Lora(rank=0)
    with pytest.raises(ValueError, match=r"Lora.dropout must lie in \[0, 1\); got 1"):
        Lora(dropout=1.0)
    with pytest.raises(ValueError, match="Fuse needs at least two adapters; got 1."):
        Fuse(members=(Bottleneck(),))
    with pytest.raises(ValueError, match="must each have a name of their own; got"):
        Stack(layers=(Bottleneck(), Bottleneck()))
    for adapter in (Lora(), Bottleneck()):
        adapter.attach(network)
        with pytest.raises(ValueError, match="'default' is there. Choose another."):
            adapter.attach(network)
        adapter.save(network, tmp_path / type(adapter).__name__)
        adapter.eject(network)
    with pytest.raises(
        ValueError, match="must hold an adapter of AdapterHub; it holds one of peft. Use SavedLora"
    ):
        Saved(source=str(tmp_path / "Lora")).attach(network)
    (tmp_path / "Lora" / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match="must hold a LoRA in peft's layout"):
        SavedLora(start=str(tmp_path / "Lora")).attach(network)
    Lora().attach(network)
    next(iter(Lora().parts(network))).weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="A LoRA must be finite to be merged"):
        Lora().merge(network)


@pytest.mark.parametrize("adapter", [Lora(), Bottleneck(), IA3(), Prefix()])
def test_its_weights_are_where_the_network_is(adapter):
    network = made(t5).to("meta")
    adapter.attach(network)
    assert all(weight.is_meta for part in adapter.parts(network) for weight in part.parameters())


@pytest.mark.parametrize(
    "yaml, expected",
    [
        (
            "{class_path: worldgen.encoders.lora.Lora, init_args: {rank: 4, targets: [q]}}",
            Lora(rank=4, targets=("q",)),
        ),
        (
            "{class_path: worldgen.encoders.compositions.Stack, init_args: {layers: ["
            "{class_path: worldgen.encoders.compositions.Saved, init_args: {source: a/b, name: one}},"
            "{class_path: worldgen.encoders.adapterhub.Bottleneck, init_args: {name: two}}]}}",
            Stack(layers=(Saved(source="a/b", name="one"), Bottleneck(name="two"))),
        ),
    ],
)
def test_yaml_chooses_an_adapter_by_class_path(yaml, expected):
    parser = ArgumentParser()
    parser.add_argument("--adapter", type=Adapter | None)
    config = parser.parse_args([f"--adapter={yaml}"])
    assert parser.instantiate_classes(config).adapter == expected
