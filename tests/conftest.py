"""Small random encoders, in the formats in which trained ones are kept."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import forkserver

import pytest
import torch

SERVED = (
    "worldgen.cli.main",
    "worldgen.data.importing.importing",
    "worldgen.evaluation.benchmarks.physics_iq",
    "worldgen.evaluation.cases",
    "worldgen.evaluation.foreign.videos",
    "worldgen.runs.train",
    "worldgen.study.ablation.work",
    "worldgen.tasks.generator",
)
"""What processes import that tests start."""


def pytest_collection_finish():
    """What was imported stays: a collection looks at what tests make, not at some million other objects."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def served():
    """The server that processes are forked off has imported what any of them needs, whoever starts it.

    There is one for all tests of a process, and what it imports is settled by the first that asks: children
    of all others would import the rest themselves, seconds each.
    """
    preload = forkserver.set_forkserver_preload

    def preload_all(modules: Sequence[str]) -> None:
        preload([*modules, *SERVED])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver, "set_forkserver_preload", preload_all)
        yield


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
