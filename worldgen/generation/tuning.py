"""One-shot tuning: a LoRA of the denoiser learns one clip (Wu et al. 2023, Tune-A-Video, 2212.11565).

How it acts afterwards is `worldgen.generation.tuned`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from worldgen.encoders.base import fingerprint
from worldgen.encoders.lora import Lora, linear_maps
from worldgen.files import progress_bar, replaced_folder
from worldgen.generation.controls import read_shard_clip
from worldgen.generation.layout import Frame, Reader
from worldgen.generation.tuned import TUNED_FILE, Tuned
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.runs.trained_on import TrainedOn, read_training
from worldgen.tasks.schedule import draw_step, warm_then_decay
from worldgen.types import Clip, to_device

BATCH = 2
"""Draws of context and noise of a step."""
_WINDOWS = 8
"""Pieces of a long clip that are learned, at most."""
_WARMUP = 10


@dataclass(frozen=True)
class Tuning:
    """How a LoRA learns.

    Args:
        steps: Of AdamW, each on a few draws of known frames and noise.
        rank: Of the LoRA.
        lr: Peak of the rate; brought to zero over the last 40 % of the steps.
        seed: Of the LoRA's first weights and of all draws.
    """

    steps: int = 150
    rank: int = 8
    lr: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "rank", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name} must be above 0; got {getattr(self, name):g}.")


def tune(run: Path, clip: str, prompt: str | None, out: Path, how: Tuning) -> Tuned:
    """Make a LoRA of one clip, and write it; a folder that is there is replaced, if it is one of these.

    Args:
        run: Of the generator.
        clip: Video, or clip of shards as FOLDER:NUMBER.
        prompt: What it shows; a clip of shards has its own.
        out: Folder to write.
        how: Steps, rank, rate and seed.

    Raises:
        FileNotFoundError: No such run or clip.
        ValueError: A clip that the run cannot learn, or a folder of something else, with the reason.
    """
    if out.exists() and not (out / TUNED_FILE).is_file():
        raise ValueError(f"--out must be a new folder, or one of `worldgen tune`; {out} is neither.")
    model, trained = open_run(run), read_training(run)
    if trained is None:
        raise ValueError(
            f"{run} does not say in what shape its training clips were, and they are gone. Tune a run that "
            "has trained_on.safetensors."
        )
    shown = read_tuned_clip(clip, prompt, trained)
    if model.conditioner.text is not None and not shown.prompts[0]:
        raise ValueError(f"--prompt must say what {clip} shows; got none. Give it.")
    own = fingerprint(model.denoiser)
    lora = Lora(name="tuned", rank=how.rank, alpha=float(how.rank), targets=linear_maps(model.denoiser))
    losses = learn_clip(model, lora, shown, trained.frames, how)
    told = {
        "trained_with": own,
        "clip": clip,
        "prompt": shown.prompts[0],
        "frames": shown.frames.shape[1],
        **asdict(how),
        "loss_first": _mean(losses[: len(losses) // 10 + 1]),
        "loss_last": _mean(losses[-(len(losses) // 10 + 1) :]),
    }
    with replaced_folder(out) as folder:
        lora.save(model.denoiser, folder)
        (folder / TUNED_FILE).write_text(json.dumps(told, indent=2) + "\n")
    return Tuned(out, own, told)


def learn_clip(model: WorldModel, lora: Lora, clip: Clip, window: int, how: Tuning) -> list[float]:
    """Attach a LoRA to a model's denoiser and train it on the model's own loss of one clip.

    Args:
        model: Its own weights stay as they are.
        lora: Of its denoiser.
        clip: As long as a window, or longer: then windows spread over it.
        window: Frames that the model was trained on.
        how: Steps, rate and seed.

    Returns:
        The loss of each step.
    """
    model.requires_grad_(False).eval()
    latents = _encode_windows(model, clip, window)
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        lora.attach(model.denoiser)
    weights = [weight for part in lora.parts(model.denoiser) for weight in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=how.lr, betas=(0.9, 0.95), weight_decay=0.0)
    curve = warm_then_decay(optimizer, _WARMUP, how.steps)["scheduler"]
    assert isinstance(curve, torch.optim.lr_scheduler.LambdaLR)
    generator = torch.Generator(model.device).manual_seed(how.seed)
    losses = []
    with progress_bar("steps") as progress:
        bar = progress.add_task("Tuning", total=how.steps)
        for _ in range(how.steps):
            chosen = torch.randint(len(latents[0]), (BATCH,), generator=generator, device=model.device)
            drawn = Latents.from_columns(tuple(column[chosen] for column in latents))
            drawn = drawn.draw_reading(generator, model.context_noise)
            loss = model.loss(drawn, *draw_step(model, drawn, generator)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.step()
            losses.append(float(loss.detach()))
            progress.advance(bar)
    return losses


def read_tuned_clip(place: str, prompt: str | None, trained: TrainedOn) -> Clip:
    """The clip that is learned, in the shape of training.

    Args:
        place: Video, or clip of shards as FOLDER:NUMBER.
        prompt: What it shows; of a clip of shards its own when None.
        trained: What the run was trained on.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is of another size or rate, or too short.
    """
    frame = Frame(trained.height, trained.width, trained.fps, trained.frames)
    if not Path(place).is_file() and ":" in place:
        clip = read_shard_clip(place)
        rows, columns = clip.frames.shape[-2:]
        fits = (rows, columns) == (frame.height, frame.width) and abs(float(clip.fps[0]) - frame.fps) < 1e-3
        rate = f" at {float(clip.fps[0]):g} fps"
    else:
        reader = Reader(frame)
        rows, columns = reader.size_of(Path(place))
        fits = not (rows % frame.height or columns % frame.width) and (
            rows * frame.width == columns * frame.height
        )
        frames = reader.all(Path(place)) if fits else torch.zeros(1, 3, frame.height, frame.width)
        clip = Clip(frames[None], torch.tensor([frame.fps]), ("",))
        rate = ""
    if not fits:
        raise ValueError(
            f"CLIP must have frames of {frame.height} x {frame.width} at {frame.fps:g} fps; {place} has "
            f"{rows} x {columns}{rate}. Resize it, to a whole multiple at most."
        )
    if clip.frames.shape[1] < frame.frames:
        raise ValueError(
            f"CLIP must have {frame.frames} frames at {frame.fps:g} fps; {place} has {clip.frames.shape[1]}. "
            "Take a longer one."
        )
    return clip if prompt is None else replace(clip, prompts=(prompt,))


def _encode_windows(model: WorldModel, clip: Clip, window: int) -> tuple[Tensor, ...]:
    """The columns of `Latents` of pieces spread evenly over a clip."""
    spare = clip.frames.shape[1] - window
    count = min(_WINDOWS, 1 + -(-spare // window)) if spare else 1
    begins = [round(spare * index / max(1, count - 1)) for index in range(count)]
    there = to_device(clip, model.device)
    found = [model.encode(_piece(there, begin, window)).columns() for begin in begins]
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _piece(clip: Clip, begin: int, window: int) -> Clip:
    if begin == 0 and clip.frames.shape[1] == window:
        return clip
    return Clip(clip.frames[:, begin : begin + window], clip.fps, clip.prompts)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
