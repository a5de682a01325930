"""Small world models of random weights."""

from pathlib import Path

import torch

from worldgen.conditioning import Conditioner
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.model import WorldModel

NANO = Path(__file__).resolve().parents[1] / "assets" / "nano"


def build(kind=WorldModel, **changes):
    torch.manual_seed(0)
    parts = {
        "codec": StateCodec(),
        "conditioner": Conditioner(dim=16, queries=2),
        "denoiser": lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 1, 1)),
        "process": CleanFlowMatching(),
        "sampler": Sampler(steps=2),
    }
    return kind(**{**parts, **changes})


def perceiving(vjepa2_folder, **changes):
    torch.manual_seed(0)
    model = WorldModel(
        codec=StateCodec(),
        conditioner=Conditioner(
            text=T5(str(NANO / "t5")),
            video=VJEPA2(str(vjepa2_folder)),
            dim=16,
            queries=2,
            slot_drop={"text": 0.1, "video": 0.1},
        ),  # fmt: skip
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 1, 1)),
        process=CleanFlowMatching(),
        **{"sampler": Sampler(steps=2), **changes},
    )
    for part in (model.denoiser.to_patch, model.denoiser.blocks[0].cross_attention.out):
        torch.nn.init.normal_(part.weight)
    return model.eval()
