from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    ByT5Tokenizer,
    MT5Config,
    MT5EncoderModel,
    T5Config,
    T5EncoderModel,
    T5Model,
    UMT5Config,
    UMT5EncoderModel,
)

from worldgen.conditioning import Conditioner
from worldgen.encoders.adapterhub import Bottleneck
from worldgen.encoders.base import Placed, Tokens, fingerprint
from worldgen.encoders.compositions import Saved, Stack
from worldgen.encoders.lora import Lora, SavedLora
from worldgen.encoders.t5 import T5
from worldgen.types import Clip

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "assets" / "nano" / "t5"
FLAN = ROOT.parent / "shared" / "data" / "weights" / "flan_t5_small_encoder"


def clip_of(*prompts):
    return Clip(torch.zeros(len(prompts), 1, 3, 2, 2), torch.ones(len(prompts)), prompts)


@pytest.fixture(scope="module")
def nano():
    return T5(str(NANO))


@pytest.mark.parametrize("folder", [NANO, FLAN], ids=["nano", "flan-t5-small"])
def test_tokens_equal_transformers(folder):
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not beside this checkout")
    prompts = ("a red ball drops onto the floor and bounces", "two balls collide")
    values, mask = T5(str(folder)).encode(clip_of(*prompts))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), T5EncoderModel.from_pretrained(folder).eval()
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            expected = model(**tokenizer(prompt, return_tensors="pt")).last_hidden_state[0]
        assert int(mask[index].sum()) == len(expected)
        assert_close(values[index, : len(expected)], expected, atol=1e-4, rtol=1e-4)


def test_it_is_frozen_and_stays_in_evaluation_mode(nano):
    assert not any(parameter.requires_grad for parameter in nano.parameters())
    assert not nano.train().model.training


def test_prompts_that_differ_in_one_word_differ_in_tokens(nano):
    values, mask = nano.encode(clip_of("a red rubber ball drops", "a red wooden ball drops"))
    assert (values[0][mask[0]].mean(dim=0) - values[1][mask[1]].mean(dim=0)).abs().max() > 1e-2


def test_any_text_can_be_read(nano):
    _, mask = nano.encode(clip_of("", "Ein gruener Würfel 🎲"))
    assert int(mask[0].sum()) == 1


def test_a_long_prompt_is_refused(nano):
    with pytest.raises(ValueError, match=r"A prompt must be at most 64 tokens; got \d{3,}. Shorten it."):
        nano.encode(clip_of("ball " * 2000))


def test_bad_checkpoints_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="A T5 folder must hold config.json"):
        T5(str(tmp_path / "nowhere"))
    T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=32).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be a T5 checkpoint"):
        T5(str(tmp_path))


SMALL = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 400}
KINDS = {
    "v1.0": (T5Config, T5Model),  # decoder and all, as the hub holds it
    "v1.1": (T5Config, T5EncoderModel),
    "mt5": (MT5Config, MT5EncoderModel),
    "umt5": (UMT5Config, UMT5EncoderModel),
}


def save_small(folder, kind="v1.1"):
    """A small T5 with random weights, reading bytes as byT5 does, in Hugging Face layout."""
    torch.manual_seed(0)
    config, model = KINDS[kind]
    gated = {} if kind == "v1.0" else {"feed_forward_proj": "gated-gelu"}
    model = model(config(**SMALL, **gated)).eval()
    model.save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_t5_equals_transformers(kind, tmp_path):
    model = save_small(tmp_path, kind)
    encoder = T5(str(tmp_path))
    values, mask = encoder.encode(clip_of("ball", "a"))
    assert mask.sum(dim=1).tolist() == [5, 2]  # bytes, and an end
    batch = ByT5Tokenizer()(["ball", "a"], padding=True, return_tensors="pt")
    network = model.encoder if kind == "v1.0" else model
    with torch.no_grad():
        expected = network(**batch).last_hidden_state
    assert_close(values[:, :5][mask[:, :5]], expected[batch["attention_mask"].bool()], atol=1e-5, rtol=1e-5)
    assert type(encoder.model).__name__ == ("T5EncoderModel" if kind == "v1.0" else type(model).__name__)


def test_other_models_and_gguf_get_a_sentence(tmp_path, monkeypatch):
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="it is of type 'bert', not one of t5, mt5, umt5"):
        T5(str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match="A GGUF checkpoint must be a file that exists; .*t5.gguf does not"
    ):
        T5(str(tmp_path / "t5.gguf"))
    (tmp_path / "t5.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("transformers.utils.import_utils.is_gguf_available", lambda: False)
    with pytest.raises(
        ValueError, match="which needs the package gguf; it is not installed. Run: pip install"
    ):
        T5(str(tmp_path / "t5.gguf"))


def save_gguf(path, leave_out="nothing"):
    """A small T5 v1.1 with random weights as a GGUF file, and the network that it was made from."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is an extra")
    torch.manual_seed(0)
    pieces = ["<pad>", "</s>", "<unk>", "▁a", "▁red", "▁ball", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    config = T5Config(**{**SMALL, "vocab_size": len(pieces)}, feed_forward_proj="gated-gelu")
    model = T5EncoderModel(config).eval()
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    writer = gguf.GGUFWriter(path, "t5encoder")
    writer.add_context_length(512)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_block_count(config.num_layers)
    writer.add_head_count(config.num_heads)
    writer.add_key_length(config.d_kv)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_relative_attn_buckets_count(config.relative_attention_num_buckets)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("t5")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0, 0.0, -5.0, -1.0, -1.0, -1.0] + [-3.0] * (len(pieces) - 6))
    writer.add_token_types([3, 3, 2] + [1] * (len(pieces) - 3))
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, config.num_layers)
    for name, value in model.state_dict().items():
        if name != "encoder.embed_tokens.weight" and leave_out not in name:  # tied to `shared`
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_gguf_weights_give_the_tokens_of_the_network_that_was_written(tmp_path):
    model = save_gguf(tmp_path / "t5.gguf")
    encoder = T5(str(tmp_path / "t5.gguf"))
    clip = clip_of("a red ball", "a drop")
    ids, mask = encoder.inputs(clip)
    assert ids[0, :5].tolist() == [3, 4, 5, 1, 0]
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert_close(encoder.encode(clip).values[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_a_gguf_that_transformers_does_not_read_whole_is_refused(tmp_path):
    save_gguf(tmp_path / "t5.gguf", leave_out="wi_0")  # as of v1.0, which has no gate
    with pytest.raises(ValueError, match="t5.gguf' must hold a whole T5 encoder; 2 tensors miss"):
        T5(str(tmp_path / "t5.gguf"))
    (tmp_path / "t5.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="t5.gguf' must be a T5 checkpoint"):
        T5(str(tmp_path / "t5.gguf"))


@pytest.fixture
def small(tmp_path):
    save_small(tmp_path / "t5")
    return str(tmp_path / "t5")


def learn(conditioner, kept, steps=3):
    """Some steps of a conditioner towards an output of ones, as the generator's training step takes them."""
    learned = [parameter for parameter in conditioner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        (conditioner(kept, torch.tensor([True, True])).tokens - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("adapter", [Lora(rank=2), Bottleneck(reduction=4.0)], ids=["lora", "bottleneck"])
def test_what_is_kept_once_still_trains_the_adapter(small, adapter):
    clip = clip_of("a red ball", "two")
    torch.manual_seed(0)
    conditioner = Conditioner(text=T5(small, adapter=adapter), dim=8, queries=2).train()
    encoder = conditioner.text
    base = {name: value.clone() for name, value in encoder.state_dict().items()}
    with torch.no_grad():  # as the generator fills its cache
        kept = conditioner.encode(clip)
    ids, mask = kept[0].tokens
    assert ids.shape == mask.shape and not ids.is_floating_point()
    kept = (Placed(Tokens(ids.clone(), mask.clone()), kept[0].positions.clone()),)
    before, mark = encoder.encode(clip).values, fingerprint(encoder)
    learn(conditioner, kept)
    learned = encoder.trained()
    assert learned and all(parameter.grad is not None for parameter in learned.values())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, base[name]) != (name in learned), name
    assert (encoder.encode(clip).values - before).abs().max() > 1e-4
    assert_close(encoder.finish(kept[0].tokens).values, encoder.encode(clip).values, atol=0, rtol=0)
    assert fingerprint(encoder) == mark  # it names what is frozen
    assert fingerprint(T5(small, adapter=adapter)) == mark != fingerprint(T5(small))


def test_without_an_adapter_that_learns_the_tokens_are_kept(small, tmp_path):
    clip = clip_of("a red ball", "two")
    learning = T5(small, adapter=Lora(rank=2))
    for part in learning.adapter.parts(learning.model):
        for weight in part.parameters():
            weight.data.add_(0.1)
    learning.adapter.save(learning.model, tmp_path / "lora")
    for encoder in (T5(small), T5(small, adapter=SavedLora(start=str(tmp_path / "lora")))):
        kept = encoder.prepare(clip)
        assert kept.values.shape == (2, 64, 16) and not encoder.trained()
        assert encoder.finish(kept) is kept
    assert_close(kept.values, learning.encode(clip).values.detach(), atol=0, rtol=0)
    assert fingerprint(encoder) != fingerprint(T5(small))


def test_dropout_is_on_in_training_and_for_the_adapter_only(small):
    clip = clip_of("a red ball", "two")
    encoder = T5(small, adapter=Lora(rank=2, dropout=0.5))
    encoder.model.encoder.block[0].layer[0].SelfAttention.v.lora_B["default"].weight.data.normal_()
    calm = encoder.encode(clip).values
    assert torch.equal(encoder.encode(clip).values, calm)
    encoder.train()
    assert (encoder.encode(clip).values - calm).abs().max() > 1e-3
    on = [name for name, module in encoder.named_modules() if module.training]
    assert on and all("lora_" in name for name in on)
    assert torch.equal(encoder.eval().encode(clip).values, calm)


def test_the_order_of_a_stack_is_part_of_what_is_frozen(small, tmp_path):
    encoder = T5(small)
    saved = []
    for name in ("language", "task"):
        adapter = Bottleneck(name=name)
        adapter.attach(encoder.model)
        adapter.save(encoder.model, tmp_path / name)
        saved.append(Saved(source=str(tmp_path / name), name=name))
    first = T5(small, adapter=Stack(layers=tuple(saved)))
    second = T5(small, adapter=Stack(layers=tuple(saved[::-1])))
    assert fingerprint(first) != fingerprint(second)


def test_a_real_t5_learns_through_an_adapter(tmp_path):
    if not FLAN.is_dir():
        pytest.skip(f"{FLAN.name} is not beside this checkout")
    clip = clip_of("a red ball drops onto the floor", "two balls collide")
    encoder = T5(str(FLAN), length=16, adapter=Lora(rank=4))
    plain = T5(str(FLAN), length=16)
    assert encoder.adapter.count(encoder.model) == 8 * 2 * 4 * (512 + 384)  # layers, q and v, rank, A and B
    assert_close(encoder.encode(clip).values, plain.encode(clip).values, atol=1e-6, rtol=0)
    learn(
        Conditioner(text=encoder, dim=8, queries=2),
        (Placed(encoder.prepare(clip), torch.zeros(2, 0, 3)),),
        steps=1,
    )
    base = load_file(FLAN / "model.safetensors")
    weights = {name.replace(".base_layer", ""): value for name, value in encoder.model.state_dict().items()}
    assert all(torch.equal(weights[name], value) for name, value in base.items())
    encoder.adapter.eject(encoder.model)
    assert_close(encoder.encode(clip).values, plain.encode(clip).values, atol=0, rtol=0)
