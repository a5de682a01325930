"""A predicting encoder, saved."""

import pytest
import torch
from transformers import VJEPA2Model, VJEPA2VideoProcessor

from tests.evaluation.squares import TINY


@pytest.fixture(scope="module")
def vjepa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    VJEPA2Model(TINY).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)
    return folder
