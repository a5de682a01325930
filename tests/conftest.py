"""Small random encoders, in the formats in which trained ones are kept."""

from dataclasses import replace

import pytest
import torch


@pytest.fixture(scope="session")
def vjepa2_folder(tmp_path_factory):
    from transformers import VJEPA2Model, VJEPA2VideoProcessor

    from tests.tiny import tiny_vjepa2

    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    VJEPA2Model(tiny_vjepa2()).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def imagebind_folder(tmp_path_factory):
    from worldgen.encoders.imagebind_files import save_imagebind
    from worldgen.encoders.imagebind_inputs import bpe_tokenizer
    from worldgen.encoders.imagebind_layers import MODALITIES, ImageBindConfig, ImageBindModel, Tower

    folder = tmp_path_factory.mktemp("imagebind")
    torch.manual_seed(0)
    config = ImageBindConfig(
        **dict.fromkeys(MODALITIES, Tower(16, 1, 2)),
        out_dim=20,
        image_size=32,
        patch=16,
        mel_bins=32,
        imu_length=400,
        context=200,
    )
    merges = [("b", "a"), ("l", "l</w>"), ("ba", "ll</w>")]
    config = replace(config, vocabulary=512 + len(merges) + 2)
    model = ImageBindModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_imagebind(model, folder, bpe_tokenizer(merges))
    return folder
