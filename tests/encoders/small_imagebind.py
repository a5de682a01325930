"""An ImageBind with few and random weights."""

from dataclasses import replace

import torch

from worldgen.encoders.imagebind_layers import MODALITIES, ImageBindConfig, ImageBindModel, Tower

MERGES = [("b", "a"), ("l", "l</w>"), ("ba", "ll</w>"), ("r", "e"), ("re", "d</w>"), ("Ã", "©</w>")]
VOCABULARY = 512 + len(MERGES) + 2
TOWERS = {name: Tower(32, 2, 4) for name in MODALITIES} | {"audio": Tower(16, 1, 2), "depth": Tower(24, 2, 3)}
SMALL = ImageBindConfig(**TOWERS, out_dim=20, image_size=32, patch=16, mel_bins=32, imu_length=400)
SMALL = replace(SMALL, vocabulary=VOCABULARY, context=24)


def random_model(config):
    """Every parameter random, also those that are usually made as zeros or ones."""
    torch.manual_seed(0)
    model = ImageBindModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
