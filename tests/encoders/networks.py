"""Small networks with random weights, of the classes that pretrained ones have, and adapters for them."""

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    VJEPA2Config,
    VJEPA2Model,
)

from worldgen.encoders.adapterhub import IA3, Bottleneck, Prefix
from worldgen.encoders.lora import Lora


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
