"""Tokens per second of each encoder against its library called directly; an epoch with and without the cache.

Run: python benchmarks/encoders.py [--rounds 15 --batch 8 --clips 32]
Both sides run in one process, in turn; medians over the rounds, and the median of the ratio round by round.
Weights are random, but for T5's; networks are small, so that what is ours is not hidden behind them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from worldgen.data.batching import stack_clips
from worldgen.data.cache.cache import precompute, stack_columns
from worldgen.encoders.clip import CLIP
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.imagebind_files import save_imagebind
from worldgen.encoders.imagebind_inputs import prepare_audio, prepare_depth, prepare_text, prepare_vision
from worldgen.encoders.imagebind_layers import ImageBindConfig, ImageBindModel, Tower
from worldgen.encoders.t5 import T5
from worldgen.encoders.timm_video import TimmVideo
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.encoding import encoding_recipe
from worldgen.tasks.generator import WorldGenerator
from worldgen.types import Clip

ROOT = Path(__file__).resolve().parents[1]
Pair = tuple[int, Callable[[], object], Callable[[], object]]
"""Tokens made, ours, and the library's own."""


def t5(clip: Clip) -> Pair:
    from transformers import AutoTokenizer, T5EncoderModel

    place = str(ROOT / "assets" / "nano" / "t5")
    encoder = T5(place)
    tokenizer, model = AutoTokenizer.from_pretrained(place), T5EncoderModel.from_pretrained(place).eval()

    @torch.no_grad()
    def library() -> object:
        batch = tokenizer(list(clip.prompts), padding="max_length", max_length=64, return_tensors="pt")
        return model(**batch).last_hidden_state

    return len(clip) * 64, lambda: encoder.encode(clip), library


def vjepa2(clip: Clip, folder: Path) -> Pair:
    from transformers import VJEPA2Model, VJEPA2VideoProcessor

    save_vjepa2(folder, size=64, dim=192, depth=6)
    encoder = VJEPA2(str(folder))
    processor = VJEPA2VideoProcessor.from_pretrained(folder)
    model = VJEPA2Model.from_pretrained(folder).eval()

    @torch.no_grad()
    def library() -> object:
        pixels = processor(list(clip.frames), do_rescale=False, do_sample_frames=False, return_tensors="pt")
        return model.encoder(pixels["pixel_values_videos"]).last_hidden_state

    return encoder.encode(clip).mask.numel(), lambda: encoder.encode(clip), library


def imagebind(clip: Clip, folder: Path) -> Pair | None:
    spec = importlib.util.find_spec("imagebind")
    if spec is None:
        return None
    shell = types.ModuleType("imagebind")  # the package around the model imports what is long gone
    shell.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["imagebind"] = shell
    from imagebind.models import imagebind_model

    tower = Tower(128, 4, 4)
    config = ImageBindConfig(tower, tower, tower, tower, tower, tower, out_dim=128)
    ours = ImageBindModel(config).eval()
    save_imagebind(ours, folder)
    names = ("vision", "text", "audio", "depth", "thermal", "imu")
    sizes = (("embed_dim", 128), ("num_blocks", 4), ("num_heads", 4))
    settings = {f"{name}_{key}": value for name in names for key, value in sizes}
    model = imagebind_model.ImageBindModel(out_embed_dim=128, **settings).eval()
    model.load_state_dict(ours.state_dict())
    words = Path(shell.__path__[0]) / "bpe" / "bpe_simple_vocab_16e6.txt.gz"
    encoder = ImageBind(folder, tokenizer=words, modalities=("vision", "text", "audio", "depth"), windows=1)

    @torch.no_grad()
    def library() -> object:
        vision, _ = prepare_vision(clip, 1, 224)
        assert clip.sound is not None and encoder.tokenizer is not None
        return model(
            {
                "vision": vision,
                "text": prepare_text(clip.prompts, encoder.tokenizer, 77),
                "audio": prepare_audio(clip.sound, 1, 128, 204),
                "depth": prepare_depth(clip, 1, 224),
            }
        )

    return len(clip) * 4, lambda: encoder.encode(clip), library


def timm_video(clip: Clip, folder: Path) -> Pair:
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    save_file(model.state_dict(), folder / "vit.safetensors")
    encoder = TimmVideo("vit_tiny_patch16_224", folder / "vit.safetensors", stride=4)
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)

    @torch.no_grad()
    def library() -> object:
        return model.forward_features(transform(clip.frames[:, ::4].flatten(0, 1)))

    return encoder.encode(clip).mask.numel(), lambda: encoder.encode(clip), library


def clip_score(clip: Clip, folder: Path) -> Pair:
    """Its tokens are frames and prompts."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    text = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    config = CLIPConfig(
        text_config={
            **text,
            "vocab_size": 190,
            "eos_token_id": 189,
            "bos_token_id": 188,
            "pad_token_id": 189,
        },
        vision_config={**text, "patch_size": 32},
    )
    CLIPModel(config).save_pretrained(folder)
    letters = [*map(chr, range(33, 127))]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: place for place, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
    scorer = CLIP(str(folder))
    model, processor = (
        CLIPModel.from_pretrained(folder).eval(),
        CLIPProcessor.from_pretrained(folder, use_fast=True),
    )
    words = tuple(prompt[:60] for prompt in clip.prompts)
    short = Clip(clip.frames[:, ::4], clip.fps, words)

    @torch.no_grad()
    def library() -> object:
        batch = processor.tokenizer(list(words), padding=True, return_tensors="pt")
        images = processor.image_processor(
            list(short.frames.flatten(0, 1)), do_rescale=False, return_tensors="pt"
        )
        return model.get_image_features(**images), model.get_text_features(**batch)

    return short.frames.shape[0] * (short.frames.shape[1] + 1), lambda: scorer.score_frames(short), library


def save_vjepa2(folder: Path, size: int, dim: int, depth: int) -> None:
    from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

    config = VJEPA2Config(
        patch_size=16,
        crop_size=size,
        frames_per_clip=16,
        hidden_size=dim,
        num_attention_heads=4,
        num_hidden_layers=depth,
        pred_hidden_size=dim // 2,
        pred_num_attention_heads=4,
        pred_num_hidden_layers=2,
        num_pooler_layers=1,
    )
    VJEPA2Model(config).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=size).save_pretrained(folder)


def take_turns(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each task in each round; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def measure_encoders(clip: Clip, folder: Path, rounds: int) -> None:
    places = {name: folder / name for name in ("vjepa2", "imagebind", "timm", "clip")}
    for place in places.values():
        place.mkdir()
    pairs = {
        "T5 (nano)": t5(clip),
        "V-JEPA 2": vjepa2(clip, places["vjepa2"]),
        "ImageBind": imagebind(clip, places["imagebind"]),
        "timm ViT-tiny": timm_video(clip, places["timm"]),
        "CLIP": clip_score(clip, places["clip"]),
    }
    table = Table("encoder", "tokens / s", "library, tokens / s", "ours / library, time")
    for name, pair in pairs.items():
        if pair is None:
            table.add_row(name, "-", "-", "the official package is not here")
            continue
        tokens, ours, library = pair
        times = take_turns({"ours": ours, "library": library}, rounds)
        rates = [f"{tokens / statistics.median(values):,.0f}" for values in times.values()]
        table.add_row(name, *rates, f"{ratio(times['ours'], times['library']):.3f}")
    Console().print(table)


def generator(folder: Path, *layers: Path) -> WorldModel:
    """The nano generator of the configs, with random encoders of nano's size in the new slots."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(WorldGenerator, "model")
    config = parser.get_defaults()
    for path in (ROOT / "configs/base.yaml", ROOT / "configs/size/nano.yaml", *layers):
        section = yaml.safe_load(path.read_text())["model"]
        config = parser.parse_object({"model": section}, namespace=config)
    return parser.instantiate_classes(config).model.model


def measure_training(source: list[Clip], batch: int, folder: Path, rounds: int) -> None:
    """A training step and an epoch at nano size."""
    tower = Tower(128, 2, 4)
    small = ImageBindConfig(tower, None, tower, tower, None, tower, out_dim=128, image_size=64, patch=16)
    save_imagebind(ImageBindModel(small), folder / "nano-imagebind")
    save_vjepa2(folder / "nano-vjepa2", size=64, dim=192, depth=6)
    slots = {"video": folder / "nano-vjepa2", "multimodal": folder / "nano-imagebind"}
    layer = {slot: {"init_args": {"checkpoint": str(place)}} for slot, place in slots.items()}
    (folder / "nano.yaml").write_text(yaml.safe_dump({"model": {"conditioner": layer}}))
    perceiving = (ROOT / "configs/perception.yaml", folder / "nano.yaml")
    models = {
        "all three encoders": generator(folder, *perceiving),
        "text only": generator(folder),
        "all three, state latent": generator(
            folder, *perceiving, ROOT / "configs/ablations/state_latent.yaml"
        ),
    }
    steps, epochs = {}, {}
    for name, model in models.items():
        cache = precompute(
            source,
            lambda clip, model=model: model.encode(clip).columns(),
            folder / name,
            encoding_recipe(model),
        )
        learn = stepper(model)
        rows = stack_columns([cache[index] for index in range(batch)])
        steps[name] = lambda rows=rows, learn=learn: learn(Latents.from_columns(rows))
        groups = [range(begin, begin + batch) for begin in range(0, len(source), batch)]

        def cached(cache=cache, learn=learn, groups=groups) -> None:
            for group in groups:
                learn(Latents.from_columns(stack_columns([cache[index] for index in group])))

        def uncached(model=model, learn=learn, groups=groups) -> None:
            for group in groups:
                learn(model.encode(stack_clips([source[index] for index in group])))

        epochs[f"{name}, cached"], epochs[f"{name}, not cached"] = cached, uncached
    times = take_turns(steps, rounds)
    table = Table("training step, encoders cached", "ms", "clips / s")
    for name, values in times.items():
        median = statistics.median(values)
        table.add_row(name, f"{1e3 * median:.0f}", f"{batch / median:.1f}")
    Console().print(table)
    both = (times["all three encoders"], times["text only"])
    print(f"all three / text only: {ratio(*both):.3f} (median of {rounds} rounds)")
    times = take_turns(epochs, max(3, rounds // 5))
    table = Table(f"epoch of {len(source)} clips", "s")
    for name, values in times.items():
        table.add_row(name, f"{statistics.median(values):.2f}")
    Console().print(table)
    for name in steps:
        print(
            f"{name}: not cached / cached {ratio(times[f'{name}, not cached'], times[f'{name}, cached']):.2f}"
        )


def stepper(model: WorldModel) -> Callable[[Latents], None]:
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4)
    generator = torch.Generator().manual_seed(0)

    def step(latents: Latents) -> None:
        count = len(latents.z)
        which = torch.full((count,), len(model.contexts) - 1)
        eps = torch.randn(latents.z.shape, generator=generator)
        keep = model.conditioner.draw_keep(count, generator)
        optimizer.zero_grad()
        model.loss(latents, which, torch.rand(count, generator=generator), eps, keep).mean().backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("rounds", 15), ("batch", 8), ("clips", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    families = ("drop", "bounce", "collide")
    source = [simulate_clip(families[number % 3], number) for number in range(chosen.clips)]
    some = stack_clips(source[: chosen.batch])
    heard = Clip(some.frames, some.fps, some.prompts, torch.rand(chosen.batch, 10_240) - 0.5, some.depth)
    print(f"{torch.get_num_threads()} threads, batches of {chosen.batch}")
    with tempfile.TemporaryDirectory() as folder:
        measure_encoders(heard, Path(folder), chosen.rounds)
        measure_training(source, chosen.batch, Path(folder), chosen.rounds)


if __name__ == "__main__":
    main()
