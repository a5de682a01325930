"""Adapters in small networks with random weights, of the very classes that the pretrained ones have."""

import copy

import adapters
import peft
import pytest
import torch
from jsonargparse import ArgumentParser
from torch.testing import assert_close
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    VJEPA2Config,
    VJEPA2Model,
)

from worldgen.encoders.adapterhub import IA3, Bottleneck, Prefix
from worldgen.encoders.adapters import Adapter
from worldgen.encoders.compositions import Fuse, Saved, Stack
from worldgen.encoders.lora import Lora, SavedLora


def t5(width=16):
    config = T5Config(d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=50)
    return T5EncoderModel(config)


def vjepa2(width=24):
    config = VJEPA2Config(
        hidden_size=width,
        num_attention_heads=2,
        num_hidden_layers=2,
        crop_size=32,
        patch_size=16,
        frames_per_clip=4,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )
    return VJEPA2Model(config)


def clip_vision(width=16):
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=8,
    )
    return CLIPVisionModel(config)


def plain(width=16):
    """No network of transformers: what ImageBind and timm's are."""
    return torch.nn.Sequential(torch.nn.Linear(width, 20), torch.nn.GELU(), torch.nn.Linear(20, width))


class Fused(torch.nn.Module):
    """Attention in one piece, as in ImageBind, and a head of numbered parts."""

    def __init__(self, width=16):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(width, 2, add_bias_kv=True, batch_first=True)
        self.fc1, self.fc2 = torch.nn.Linear(width, 32), torch.nn.Linear(32, width)
        self.head = torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Linear(width, width))

    def forward(self, x):
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return self.head(x + self.fc2(torch.nn.functional.gelu(self.fc1(x))))


def run(network):
    generator = torch.Generator().manual_seed(1)
    if isinstance(network, Fused):
        return network(torch.randn(2, 3, 16, generator=generator))
    if isinstance(network, torch.nn.Sequential):
        return network(torch.randn(2, network[0].in_features, generator=generator))
    kind = network.config.model_type
    if kind == "t5":
        mask = torch.ones(2, 6, dtype=torch.long)
        mask[1, 4:] = 0
        ids = torch.randint(0, 50, (2, 6), generator=generator)
        return network(input_ids=ids, attention_mask=mask).last_hidden_state
    if kind == "vjepa2":
        frames = torch.randn(2, 4, 3, 32, 32, generator=generator)
        return network(pixel_values_videos=frames, skip_predictor=True).last_hidden_state
    return network(pixel_values=torch.randn(2, 3, 16, 16, generator=generator)).last_hidden_state


def made(make, width=None):
    torch.manual_seed(0)
    network = make() if width is None else make(width)
    for parameter in network.parameters():  # no bias is zero, as it is in no pretrained network
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network.requires_grad_(False).eval()


def tensors(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def train(network, adapter, steps=3):
    """Some steps towards an output of ones; the loss of the first and of the last."""
    learn = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learn, lr=0.02)
    losses = []
    for _ in range(steps):
        loss = (run(network) - 1).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses[0], losses[-1]


PLACES = [
    pytest.param(Lora(rank=2), t5, id="lora-t5"),
    pytest.param(Lora(rank=2), vjepa2, id="lora-vjepa2"),
    pytest.param(Lora(rank=2), clip_vision, id="lora-clip"),
    pytest.param(Lora(rank=2), plain, id="lora-plain"),
    pytest.param(Lora(rank=2), Fused, id="lora-fused"),
    pytest.param(Bottleneck(reduction=4.0), t5, id="bottleneck-t5"),
    pytest.param(Bottleneck(reduction=4.0), vjepa2, id="bottleneck-vjepa2"),
    pytest.param(Bottleneck(reduction=4.0), clip_vision, id="bottleneck-clip"),
    pytest.param(IA3(), t5, id="ia3-t5"),
    pytest.param(IA3(), vjepa2, id="ia3-vjepa2"),
    pytest.param(IA3(), clip_vision, id="ia3-clip"),
    pytest.param(Prefix(length=3, width=8), t5, id="prefix-t5"),
    pytest.param(Prefix(length=3, width=8), clip_vision, id="prefix-clip"),
]
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


@pytest.mark.parametrize("adapter", [Bottleneck(), Prefix()])
def test_what_is_no_change_of_weights_cannot_be_merged(adapter):
    network = made(t5)
    adapter.attach(network)
    with pytest.raises(ValueError, match="must be a change of weights to be merged"):
        adapter.merge(network)


@pytest.mark.parametrize("make", [t5, vjepa2, clip_vision, plain, Fused])
def test_plain_peft_loads_the_file_of_a_lora(make, tmp_path):
    network, twin = made(make), made(make)
    lora = Lora(rank=3, alpha=5.0, name="physics")
    lora.attach(network)
    train(network, lora)
    lora.save(network, tmp_path / "lora")
    assert {file.name for file in (tmp_path / "lora").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(twin), tmp_path / "lora").eval()
    assert_close(run(theirs.base_model.model), run(network), atol=0, rtol=0)
    ours = SavedLora(start=str(tmp_path / "lora"))
    ours.attach(twin)
    assert_close(run(twin), run(network), atol=0, rtol=0)
    assert ours.count(twin) == 0 and not any(weight.requires_grad for weight in twin.parameters())


def test_a_lora_goes_on_from_a_saved_one(tmp_path):
    network, twin = made(t5), made(t5)
    Lora(rank=2).attach(network)
    train(network, Lora())
    Lora().save(network, tmp_path)
    on = Lora(start=str(tmp_path))
    on.attach(twin)
    assert_close(run(twin), run(network), atol=0, rtol=0)
    first, last = train(twin, on)
    assert last < first


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


def test_only_the_encoder_of_v_jepa_gets_a_lora():
    network = made(vjepa2)
    Lora(rank=2).attach(network)
    learn = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert len(learn) == 2 * 2 * 2  # A and B, of queries and values, in each of 2 layers
    assert all(name.startswith("encoder.layer.") for name in learn)


def test_attention_in_one_piece_is_left_alone():
    network = made(Fused)
    Lora(rank=2).attach(network)
    learn = {
        name.partition(".lora_")[0] for name, weight in network.named_parameters() if weight.requires_grad
    }
    assert learn == {"fc1", "fc2"}
    with pytest.raises(
        ValueError, match="Lora.targets must name linear maps; 'attn' is attention in one piece."
    ):
        Lora(targets=("attn",), name="other").attach(network)


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


def test_a_lora_with_other_depth_is_refused_whole(tmp_path):
    network = made(t5)
    Lora(rank=2).attach(network)
    Lora().save(network, tmp_path)
    deeper = made(t5)
    deeper.encoder.block.append(copy.deepcopy(deeper.encoder.block[1]))
    with pytest.raises(ValueError, match="which are 6; it holds 4. It belongs to another encoder."):
        SavedLora(start=str(tmp_path)).attach(deeper)
    assert not any("lora" in name for name in deeper.state_dict())


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


@pytest.mark.parametrize("adapter", [Lora(), Bottleneck(), IA3(), Prefix()])
def test_its_weights_are_where_the_network_is(adapter):
    network = made(t5).to("meta")
    adapter.attach(network)
    assert all(weight.is_meta for part in adapter.parts(network) for weight in part.parameters())


def test_the_encoder_inside_v_jepa_runs_a_bottleneck_too():
    network = made(vjepa2)
    Bottleneck(reduction=4.0).attach(network)
    train(network, Bottleneck())
    frames = torch.randn(2, 4, 3, 32, 32)
    whole = network(pixel_values_videos=frames, skip_predictor=True).last_hidden_state
    assert_close(network.encoder(frames).last_hidden_state, whole, atol=0, rtol=0)


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
