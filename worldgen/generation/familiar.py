"""How far what is asked lies from what a run was trained on, in the features of its own encoders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.model import WorldModel
from worldgen.runs.trained_on import TrainedOn, picture_features, text_features
from worldgen.types import Clip

FAR = 2.0
"""Times the distance within which 99 % of training clips have another one; beyond it something lies far."""
_MOST = 0.99


@dataclass(frozen=True)
class Distance:
    """From the nearest training clip, in standard deviations of training."""

    value: float
    quantile: float
    """Share of training clips that lie no farther from their own nearest other one."""
    ratio: float
    """To the distance within which 99 % of training clips have another one."""


def nearest_distance(features: Float[Tensor, " D"], training: Float[Tensor, "N D"]) -> Distance:
    """How far features lie from the nearest of training, and how many of those lie as far from theirs.

    Clips of equal features, as of one caption, count once.

    Args:
        features: Of one prompt or picture.
        training: Of training clips.

    Raises:
        ValueError: Fewer than two different training clips.
    """
    scale = training.std(dim=0).clamp(min=1e-6)
    known = torch.unique((training / scale).half(), dim=0).float()
    if len(known) < 2:
        raise ValueError(f"A distance needs 2 or more different training clips; got {len(known)}.")
    apart = torch.cdist(known, known) + torch.diag(torch.full((len(known),), torch.inf))
    nearest = apart.amin(dim=1)
    own = float(torch.cdist((features / scale)[None], known).min())
    return Distance(own, float((nearest <= own).float().mean()), own / float(nearest.quantile(_MOST)))


def tell_distance(model: WorldModel, trained: TrainedOn | None, clip: Clip, pictured: bool) -> list[str]:
    """Sentences on the shape, prompts and picture that lie far from training, or of which it is not known.

    Args:
        model: The run's.
        trained: What the run keeps of its training.
        clip: The prompts, and the first known frames.
        pictured: Whether there is a known frame.
    """
    said = [] if trained is None else _tell_shape(trained, clip)
    text = text_features(model, clip)
    if text is not None:
        if trained is None or trained.text is None:
            said.append("How far the prompt lies from those of training is not known: the run keeps none.")
        else:
            found = [nearest_distance(one, trained.text) for one in text.float().cpu()]
            for prompt, distance in dict(zip(clip.prompts, found, strict=True)).items():
                said += _tell(f'The prompt "{prompt}" lies', distance)
    if pictured:
        if trained is None or trained.picture is None:
            said.append("How far the picture lies from those of training is not known: the run keeps none.")
        else:
            said += _tell(
                "The picture lies",
                nearest_distance(picture_features(model, clip)[0].float().cpu(), trained.picture),
            )
    return said


def _tell_shape(trained: TrainedOn, clip: Clip) -> list[str]:
    rows, columns = clip.frames.shape[-2:]
    usual = f"{trained.height} x {trained.width} at {trained.fps:g} frames per second"
    asked = f"{rows} x {columns} at {float(clip.fps[0]):g}"
    if (rows, columns) == (trained.height, trained.width) and abs(clip.fps[0] / trained.fps - 1) < 0.01:
        return []
    return [f"Most clips that the run was trained on are {usual}; of {asked} things may come apart."]


def _tell(what: str, distance: Distance) -> list[str]:
    if distance.ratio < FAR:
        return []
    return [
        f"{what} far from what the run was trained on: {distance.value:.2g} standard deviations from the "
        f"nearest, where {distance.quantile:.0%} of the training clips have a nearer one, and "
        f"{distance.ratio:.1f} times as far as 99 % of them. It may not be heeded."
    ]
