"""Videos of a bright square, and an encoder small enough to look at them."""

import json

import torch
from PIL import Image
from transformers import VJEPA2Config

from worldgen.data.media import write_video

FRAMES = 8


TINY = VJEPA2Config(
    patch_size=16, crop_size=32, frames_per_clip=FRAMES, tubelet_size=2, hidden_size=32, num_hidden_layers=1,
    num_attention_heads=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    num_pooler_layers=1, initializer_range=0.2,
)  # fmt: skip


def walk(places, level=0.9):
    """A bright square at these columns, one per frame."""
    frames = torch.full((len(places), 3, 32, 32), 0.2)
    for frame, x in zip(frames, places, strict=True):
        if x is not None:
            frame[:, 10:20, x : x + 8] = level
    return frames


THERE = [0, 2, 4, 6, 8, 10, 12, 14]


GONE = [0, 2, 4, 6, 8, None, None, None]


LATE = [None, None, 4, 6, 8, 10, 12, 14]


NEVER = [None] * FRAMES


def write_mp4(path, places, level=0.9):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, walk(places, level), fps=8)


def write_movie(folder, places, possible):
    (folder / "scene").mkdir(parents=True)
    for index, frame in enumerate(walk(places)):
        pixels = (frame.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / "scene" / f"scene_{index + 1:03d}.png")
    (folder / "status.json").write_text(json.dumps({"header": {"is_possible": possible}}))


def brightness(clip):
    return {"brightness": float(clip.frames.mean()), "nothing": None}
