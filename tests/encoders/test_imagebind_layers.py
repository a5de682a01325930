import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from tests.encoders.small_imagebind import SMALL, TOWERS, random_model
from worldgen.encoders.imagebind_inputs import (
    prepare_text,
    read_tokenizer,
)
from worldgen.encoders.imagebind_layers import HUGE, MODALITIES, ImageBindConfig, ImageBindModel

TABLE = Path(__file__).with_name("imagebind_keys.txt")


def test_names_and_shapes_are_those_of_the_published_model():
    expected = {}
    for line in TABLE.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, *sizes = line.split(" ")
        shape = tuple(int(size) for size in sizes[0].split(",")) if sizes else ()
        head, blocks, tail = name.partition(".blocks.")
        span, _, rest = tail.partition(".")
        first, _, last = span.partition("-")
        numbers = range(int(first), int(last) + 1) if blocks else ()
        expected |= {f"{head}.blocks.{k}.{rest}": shape for k in numbers} if blocks else {name: shape}
    with torch.device("meta"):
        found = {name: tuple(value.shape) for name, value in ImageBindModel(HUGE).state_dict().items()}
    assert found == expected
    assert len(found) == 1311


@pytest.mark.parametrize("modality", MODALITIES)
def test_trunks_equal_torch_attention_written_out(modality):
    """Blocks rebuilt from torch's own layer, or from the formula where a learned key and value are added."""
    model = random_model(SMALL)
    trunk, tower = model.modality_trunks[modality], getattr(SMALL, modality)
    x = torch.randn(2, 7, tower.dim)
    mask = torch.full((7, 7), -torch.inf).triu(1) if modality == "text" else None
    with torch.no_grad():
        expected = trunk.pre_transformer_layer(x)
        assert torch.equal(expected, x) != (modality == "vision")
        for block in trunk.blocks:
            build = _with_bias_kv if modality not in ("vision", "text") else _torch_layer
            expected = build(block, tower, expected, mask)
        assert_close(trunk(x, mask), expected, atol=1e-5, rtol=1e-5)


def _torch_layer(block, tower, x, mask):
    layer = nn.TransformerEncoderLayer(
        tower.dim, tower.heads, 4 * tower.dim, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True
    )
    names = {
        "attn": "self_attn",
        "norm_1": "norm1",
        "norm_2": "norm2",
        "mlp.fc1": "linear1",
        "mlp.fc2": "linear2",
    }
    state = block.state_dict()
    for ours, torchs in names.items():
        state = {name.replace(f"{ours}.", f"{torchs}."): value for name, value in state.items()}
    layer.load_state_dict(state)
    return layer.eval()(x, src_mask=mask)


def _with_bias_kv(block, tower, x, mask):
    y = F.layer_norm(x, (tower.dim,), block.norm_1.weight, block.norm_1.bias, 1e-6)
    q, k, v = F.linear(y, block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=-1)
    k = torch.cat([k, block.attn.bias_k.expand(len(x), -1, -1)], dim=1)
    v = torch.cat([v, block.attn.bias_v.expand(len(x), -1, -1)], dim=1)
    q, k, v = (part.unflatten(-1, (tower.heads, -1)).transpose(1, 2) for part in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    x = x + block.attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
    y = F.layer_norm(x, (tower.dim,), block.norm_2.weight, block.norm_2.bias, 1e-6)
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(y)))


def test_parity_with_the_official_package(official):
    torch.manual_seed(0)
    sizes = {
        f"{name}_{theirs}": getattr(tower, ours)
        for name, tower in TOWERS.items()
        for theirs, ours in (("embed_dim", "dim"), ("num_blocks", "blocks"), ("num_heads", "heads"))
    }
    theirs = official.model.ImageBindModel(out_embed_dim=20, **sizes).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = ImageBindModel(ImageBindConfig(**TOWERS, out_dim=20)).eval()
    ours.load_state_dict(theirs.state_dict())
    text = torch.randint(1, 49406, (2, 77))
    text[0, 9], text[1, 76] = 49407, 49407
    inputs = {
        "vision": torch.randn(2, 3, 2, 224, 224),
        "text": text,
        "audio": torch.randn(2, 1, 128, 204),
        "depth": torch.randn(2, 1, 224, 224),
        "thermal": torch.randn(2, 1, 224, 224),
        "imu": torch.randn(2, 6, 2000),
    }
    with torch.no_grad():
        for name, value in inputs.items():
            # A fifth axis is taken for windows there.
            expected = theirs({name: value[:, None] if name == "vision" else value})[name]
            assert_close(ours(name, value), expected, atol=1e-5, rtol=1e-5)
        picture = inputs["vision"][:, :, 0]
        assert_close(ours("vision", picture), theirs({"vision": picture})["vision"], atol=1e-5, rtol=1e-5)


def test_the_published_size_equals_the_official_package(official, monkeypatch):
    linspace = torch.linspace  # read number by number there, which only works off the meta device
    monkeypatch.setattr(torch, "linspace", lambda *span: linspace(*span, device="cpu"))
    with torch.device("meta"):
        theirs, ours = official.model.imagebind_huge(pretrained=False), ImageBindModel(HUGE)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_tokens_equal_those_of_the_official_package(official):
    file = Path(sys.modules["imagebind"].__path__[0]) / "bpe" / "bpe_simple_vocab_16e6.txt.gz"
    theirs = official.inputs.SimpleTokenizer(bpe_path=str(file))
    tokenizer = read_tokenizer(file, HUGE.vocabulary)
    for prompt in (
        "A red rubber ball   drops onto the floor, and bounces!",
        "ball's 12 balls &amp; café",
        "",
        "x\u3000y\n🎲",
    ):
        assert torch.equal(prepare_text((prompt,), tokenizer, 77)[0], theirs(prompt)), prompt
