import copy

import peft
import pytest
import torch
from torch.testing import assert_close

from tests.encoders.networks import Fused, clip_vision, made, plain, run, t5, train, vjepa2
from worldgen.encoders.lora import Lora, SavedLora


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
    with pytest.raises(ValueError, match=r"attn\.out_proj is part of attention in one piece"):
        Lora(targets=("out_proj", "fc1"), name="other").attach(network)
    assert not any("other" in name for name, _ in network.named_parameters())


def test_a_lora_with_other_depth_is_refused_whole(tmp_path):
    network = made(t5)
    Lora(rank=2).attach(network)
    Lora().save(network, tmp_path)
    deeper = made(t5)
    deeper.encoder.block.append(copy.deepcopy(deeper.encoder.block[1]))
    with pytest.raises(ValueError, match="which are 6; it holds 4. It belongs to another encoder."):
        SavedLora(start=str(tmp_path)).attach(deeper)
    assert not any("lora" in name for name in deeper.state_dict())


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"use_dora": True}, "its settings say use_dora: True"),
        ({"modules_to_save": ["layer_norm"]}, r"its settings say modules_to_save: \['layer_norm'\]"),
        ({"bias": "lora_only"}, "its settings say bias: lora_only"),
        ({"bias": "all"}, "its settings say bias: all"),
        ({"lora_bias": True}, "its settings say lora_bias: True"),
        ({"init_lora_weights": "pissa"}, "pissa, which changes the network's own weights"),
        ({"init_lora_weights": "olora"}, "olora, which changes the network's own weights"),
        ({"trainable_token_indices": [1, 2]}, r"its settings say trainable_token_indices: \[1, 2\]"),
        ({"target_modules": ["q", "shared"]}, "it holds .*shared.lora_embedding_A, too"),
    ],
)
def test_what_peft_calls_a_lora_and_is_more_is_refused_for_what_it_is(settings, reason, tmp_path):
    network, target = made(t5), made(t5)
    config = peft.LoraConfig(**{"r": 2, "target_modules": ["q", "v"], **settings})
    peft.get_peft_model(network, config).save_pretrained(tmp_path)
    before = run(target)
    with pytest.raises(ValueError, match=f"must be an A and a B beside linear maps.*{reason}.*Merge it"):
        SavedLora(start=str(tmp_path)).attach(target)
    assert torch.equal(run(target), before) and not any("lora" in name for name in target.state_dict())


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"rank_pattern": {"block.0.layer.0.SelfAttention.q": 3}, "alpha_pattern": {"v": 5}},
        {"layers_to_transform": [1], "layers_pattern": "block"},
        {"target_modules": r".*SelfAttention\.(q|o)", "init_lora_weights": "gaussian"},
        {"exclude_modules": ["v"], "target_modules": "all-linear"},
    ],
    ids=["rslora", "ranks", "one layer", "gaussian", "all but one"],
)
def test_a_lora_of_peft_alone_acts_as_it_does_there(settings, tmp_path):
    network, target = made(t5), made(t5)
    config = peft.LoraConfig(**{"r": 2, "target_modules": ["q", "v"], **settings})
    theirs = peft.get_peft_model(network, config).eval()
    for name, weight in theirs.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(generator=torch.Generator().manual_seed(0))
    theirs.save_pretrained(tmp_path)
    SavedLora(start=str(tmp_path)).attach(target)
    assert_close(run(target), run(theirs.base_model.model), atol=0, rtol=0)
