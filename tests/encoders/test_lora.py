import copy

import peft
import pytest
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


def test_a_lora_with_other_depth_is_refused_whole(tmp_path):
    network = made(t5)
    Lora(rank=2).attach(network)
    Lora().save(network, tmp_path)
    deeper = made(t5)
    deeper.encoder.block.append(copy.deepcopy(deeper.encoder.block[1]))
    with pytest.raises(ValueError, match="which are 6; it holds 4. It belongs to another encoder."):
        SavedLora(start=str(tmp_path)).attach(deeper)
    assert not any("lora" in name for name in deeper.state_dict())
