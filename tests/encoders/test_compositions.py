import adapters
import pytest
import torch
from torch.testing import assert_close

from tests.encoders.networks import PLACES, made, run, t5, tensors, train, vjepa2
from worldgen.encoders.adapterhub import IA3, Bottleneck
from worldgen.encoders.compositions import Fuse, Saved, Stack


@pytest.mark.parametrize("adapter, make", [place for place in PLACES if "lora" not in place.id])
def test_plain_adapters_loads_the_folder_of_an_adapter(adapter, make, tmp_path):
    network, twin, theirs = made(make), made(make), made(make)
    adapter.attach(network)
    train(network, adapter)
    adapter.save(network, tmp_path / "saved")
    interface = None
    if make is vjepa2:
        interface = adapters.AdapterModelInterface._load(str(tmp_path / "saved"))
    adapters.init(theirs, interface=interface)
    theirs.load_adapter(str(tmp_path / "saved"), set_active=True, use_safetensors=True)
    assert_close(run(theirs.eval()), run(network), atol=0, rtol=0)
    Saved(source=str(tmp_path / "saved"), name="again").attach(twin)
    assert_close(run(twin), run(network), atol=0, rtol=0)
    assert not any(weight.requires_grad for weight in twin.parameters())


@pytest.fixture
def saved_pair(tmp_path):
    """Two trained bottlenecks of a T5, as another would have shared them."""
    network = made(t5)
    for name in ("language", "task"):
        adapter = Bottleneck(reduction=4.0, name=name)
        adapter.attach(network)
        train(network, adapter)
        adapter.save(network, tmp_path / name)
    return tuple(Saved(source=str(tmp_path / name), name=name) for name in ("language", "task"))


def test_a_stack_runs_one_after_the_other(saved_pair):
    network = made(t5)
    before = run(network)
    stack = Stack(layers=saved_pair)
    stack.attach(network)
    stacked = run(network)
    assert not any(weight.requires_grad for weight in network.parameters())
    other = made(t5)
    Stack(layers=saved_pair[::-1]).attach(other)
    assert (run(other) - stacked).abs().max() > 1e-4
    stack.eject(network)
    assert torch.equal(run(network), before)


def test_a_new_task_is_learned_on_a_frozen_language(saved_pair, tmp_path):
    network, theirs = made(t5), made(t5)
    new = Bottleneck(reduction=2.0, name="new")
    stack = Stack(layers=(saved_pair[0], new))
    stack.attach(network)
    language = [weight.clone() for part in saved_pair[0].parts(network) for weight in part.parameters()]
    assert stack.count(network) == new.count(network) > 0 == saved_pair[0].count(network)
    first, last = train(network, stack)
    assert last < first
    after = [weight for part in saved_pair[0].parts(network) for weight in part.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(language, after, strict=True))
    stack.save(network, tmp_path / "stack")
    adapters.init(theirs)
    theirs.load_adapter_setup(str(tmp_path / "stack"), set_active=True, use_safetensors=True)
    assert_close(run(theirs.eval()), run(network), atol=0, rtol=0)


def test_a_fusion_learns_whom_to_listen_to(saved_pair, tmp_path):
    network, theirs = made(t5), made(t5)
    before, weights = run(network), tensors(network)
    fuse = Fuse(members=saved_pair)
    fuse.attach(network)
    learn = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert learn and all("adapter_fusion_layer" in name for name in learn)
    first, last = train(network, fuse)
    assert last < first
    fuse.save(network, tmp_path / "fused")
    adapters.init(theirs)
    theirs.load_adapter_setup(str(tmp_path / "fused"), set_active=True, use_safetensors=True)
    assert_close(run(theirs.eval()), run(network), atol=0, rtol=0)
    fuse.eject(network)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert torch.equal(run(network), before)


@pytest.mark.parametrize("kind", [Bottleneck, IA3, "stack", "fuse"])
def test_ejecting_one_leaves_another_acting_and_learning(kind):
    network = made(t5)
    first = Bottleneck(reduction=4.0, name="first")
    first.attach(network)
    train(network, first)
    expected = run(network).detach()
    pair = (Bottleneck(reduction=4.0, name="a"), Bottleneck(reduction=4.0, name="b"))
    made_of = {"stack": Stack(name="second", layers=pair), "fuse": Fuse(name="second", members=pair)}
    second = made_of[kind] if isinstance(kind, str) else kind(name="second")
    second.attach(network)
    first.activate(network)
    second.eject(network)
    assert torch.equal(run(network), expected)
    assert first.count(network) > 0


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    network = made(t5)
    Bottleneck().attach(network)
    Bottleneck().save(network, tmp_path)
    Bottleneck().eject(network)
    (tmp_path / "adapter.safetensors").unlink()
    torch.save({"weight": Bomb(tmp_path / "ran")}, tmp_path / "pytorch_adapter.bin")
    with pytest.raises(ValueError, match="must be tensors that can be read; they are not."):
        Saved(source=str(tmp_path)).attach(network)
    assert not (tmp_path / "ran").exists()
    assert not list(network.adapters_config)


def test_a_hub_id_that_cannot_be_reached_gets_a_sentence(monkeypatch):
    def offline(source):
        raise OSError("no route")

    monkeypatch.setattr("worldgen.encoders.compositions.require_hub", lambda name: None)  # it answers
    monkeypatch.setattr("adapters.utils.resolve_adapter_path", offline)
    with pytest.raises(OSError, match="must be a folder or a hub id that can be reached; 'a/b' is neither."):
        Saved(source="a/b").attach(made(t5))


def test_what_cannot_be_fused_is_refused():
    network = made(t5)
    one, two = IA3(name="one"), IA3(name="two")
    with pytest.raises(
        ValueError, match=r"must all be bottlenecks in the same places; \['one', 'two'\] are not"
    ):
        Fuse(members=(one, two)).attach(network)
    assert not list(network.adapters_config) and not network.adapters_config.fusions
    with pytest.raises(
        ValueError, match="must be single adapters; got a composition. Stack the Fuse instead."
    ):
        Fuse(members=(one, Stack(layers=(two,))))
