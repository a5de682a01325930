"""Adapters in small networks with random weights, of the very classes that the pretrained ones have."""

from itertools import product

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


PAIRED = {
    "lora": lambda name, saved: Lora(rank=2, name=name),
    "saved lora": lambda name, saved: SavedLora(start=str(saved / "lora"), name=name),
    "bottleneck": lambda name, saved: Bottleneck(reduction=4.0, name=name),
    "ia3": lambda name, saved: IA3(name=name),
    "prefix": lambda name, saved: Prefix(length=3, width=8, name=name),
    "saved": lambda name, saved: Saved(source=str(saved / "bottleneck"), name=name),
    "stack": lambda name, saved: Stack(
        name=name,
        layers=(Saved(source=str(saved / "bottleneck"), name=f"{name}-1"), IA3(name=f"{name}-2")),
    ),
    "fuse": lambda name, saved: Fuse(
        name=name,
        members=(Bottleneck(name=f"{name}-1"), Saved(source=str(saved / "bottleneck"), name=f"{name}-2")),
    ),
}
NEUTRAL = ("lora", "bottleneck", "ia3")
"""Those that start from the network as it is."""


@pytest.fixture(scope="module", params=[t5, vjepa2])
def place(request, tmp_path_factory):
    """A kind of network, and a folder with a LoRA and a bottleneck of it."""
    folder = tmp_path_factory.mktemp("saved")
    for kind in ("lora", "bottleneck"):
        network, adapter = made(request.param), PAIRED[kind]("one", folder)
        adapter.attach(network)
        teach(network, adapter)
        adapter.save(network, folder / kind)
    return request.param, folder


@pytest.mark.parametrize("first, second", product(PAIRED, PAIRED))
def test_whatever_is_attached_after_it_an_adapter_stays(first, second, place, tmp_path):
    make, folder = place
    if make is vjepa2 and "prefix" in (first, second):
        pytest.skip("AdapterHub has no prefix for it: refused, see below")
    network, one, two = made(make), PAIRED[first]("one", folder), PAIRED[second]("two", folder)
    base = run(network)
    one.attach(network)
    teach(network, one)
    alone, weights = run(network).detach(), weights_of(one, network)
    two.attach(network)
    assert weights and weights_of(one, network) == weights
    if ("lora" in first) != ("lora" in second) and second in NEUTRAL:
        assert_close(run(network), alone)  # those of two libraries act together
    teach(network, two)
    assert weights_of(one, network) == weights
    two.activate(network)
    other = run(network).detach()
    assert (other - alone).abs().max() > 1e-3
    for adapter, expected in ((one, alone), (two, other)):
        adapter.activate(network)
        assert torch.equal(run(network), expected), "it acts alone"
        if not isinstance(adapter, (Stack, Fuse)):  # the library alone reads them back elsewhere
            adapter.save(network, tmp_path / adapter.name)
            fresh, where = made(make), str(tmp_path / adapter.name)
            (SavedLora(start=where) if isinstance(adapter, Lora) else Saved(source=where)).attach(fresh)
            assert_close(run(fresh), expected)
    one.deactivate(network)
    assert torch.equal(run(network), base)
    two.eject(network)
    one.activate(network)
    assert torch.equal(run(network), alone)
    one.eject(network)
    assert torch.equal(run(network), base)


@pytest.mark.parametrize("first", [kind for kind in PAIRED if kind != "prefix"])
def test_a_refused_adapter_leaves_the_one_that_is_there(first, place):
    make, folder = place
    network, one = made(make), PAIRED[first]("one", folder)
    one.attach(network)
    teach(network, one)
    alone = run(network).detach()
    if make is vjepa2:
        with pytest.raises(ValueError, match="Prefix must be known to AdapterHub for vjepa2; it is not."):
            Prefix(name="two").attach(network)
        assert torch.equal(run(network), alone)
    with pytest.raises(ValueError, match="Lora.targets must name linear maps"):
        Lora(name="two", targets=("nothing",)).attach(network)
    assert torch.equal(run(network), alone)


def test_a_lora_is_not_merged_under_what_scales_its_maps():
    network = made(t5)
    lora, scales = Lora(name="one"), IA3(name="two")
    lora.attach(network)
    teach(network, lora)
    scales.attach(network)
    teach(network, scales)
    both = run(network).detach()
    with pytest.raises(ValueError, match="another adapter changes encoder.*Eject that one first."):
        lora.merge(network)
    assert torch.equal(run(network), both)
    lora.activate(network)
    alone = run(network).detach()
    scales.eject(network)
    lora.merge(network)
    assert_close(run(network), alone, atol=1e-5, rtol=1e-5)


def teach(network, adapter):
    """Weights as training might leave them, others for each name."""
    generator = torch.Generator().manual_seed(len(adapter.name) + ord(adapter.name[0]))
    for part in adapter.parts(network):
        for weight in part.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)


def weights_of(adapter, network):
    return [weight.tolist() for part in adapter.parts(network) for weight in part.parameters()]


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
