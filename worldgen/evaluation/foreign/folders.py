"""Two folders of anybody's videos as crowds, in the features of an encoder: nothing in them is paired.

What was seen of a video is kept in ``OUT/features``: a second run looks only at what is new or has changed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from worldgen.data.videos import MOST_FRAMES, WIDEST, VideoFolder, read_small, require_picture
from worldgen.encoders.base import Encoder, fingerprint, load_encoder
from worldgen.evaluation.foreign.videos import Beside
from worldgen.evaluation.kept import Kept, Record, stamp_of
from worldgen.files import progress_bar
from worldgen.metrics import surprise
from worldgen.metrics.distances import clip_features, measure_distances
from worldgen.metrics.measure import Row
from worldgen.metrics.surprise import Foreseer, Windows, fit_window
from worldgen.types import Clip

MOST_WINDOWS = 8
"""Windows of a video, evenly apart, in which its surprise is measured."""
UNTOLD = (
    "whether these videos were made with this very encoder cannot be told from files: if their model was "
    "conditioned on it, aligned with it or chosen by it, believe a second one (--encoder, another class or "
    "checkpoint)"
)
NOTES = (
    "JEDi and Frechet distance compare the two folders as crowds: no video is paired with another, whatever "
    "its name, and they are fidelity, not physics. JEDi(X, -X) = 0; features pooled over a video, as these "
    "are, need not notice that it is played backward.",
    "Surprise of single videos is not comparable between encoders, nor between videos of different content; "
    "its chance level is unknown.",
)


@dataclass(frozen=True)
class Seen:
    """What an encoder made of one video."""

    features: Float[Tensor, " d"]
    measures: tuple[Row, ...]
    """Its surprise, where the encoder predicts."""


def compare_folders(videos: Path, against: Path, encoder: str, out: Path) -> Beside:
    """How far the videos of a folder are, as a crowd, from those of another one.

    Args:
        videos: Those that are judged.
        against: Real ones; any number of them.
        encoder: See `load_encoder`.
        out: Folder of the report.

    Raises:
        FileNotFoundError: No such folder or encoder.
        ValueError: A folder without videos, or none that the encoder can look at; or it sees no difference
            between any two.
    """
    folders = [VideoFolder(folder, size=1) for folder in (videos, against)]  # has a sentence for each mistake
    loaded = load_encoder(encoder)
    mark = f"{type(loaded).__name__}:{fingerprint(loaded)}"
    rows, crowds, skipped = [], [], []
    measures: tuple[tuple[str, tuple[Row, ...]], ...] = ()
    for side, name, folder in zip(("videos", "against"), ("videos", "real videos"), folders, strict=True):
        seen, lost = _look_at_all(loaded, mark, folder.paths, out / "features" / side)
        if not seen:
            raise ValueError(
                f"None of {len(lost)} videos in {folder.folder} can be looked at; {lost[0][0]}: {lost[0][1]}."
            )
        note = f"of {folder.folder}; the others are listed below with the reason" if lost else ""
        rows.append(Row(f"{name} in the distances", float(len(seen)), unit=f"of {len(folder)}", note=note))
        skipped += [(f"{path} in the distances", reason) for path, reason in lost]
        crowds.append(torch.stack([one.features for one in seen.values()]))
        if side == "videos":
            measures = tuple((path.name, one.measures) for path, one in seen.items() if one.measures)
    together = torch.cat(crowds)
    if len(together) > 1 and bool((together == together[0]).all()):
        raise ValueError(
            f"{encoder} gives all {len(together)} videos the same features: it does not look at frames. Give "
            "the encoder of a video."
        )
    rows = [*(measure.row() for measure in measure_distances(*crowds)), *rows]
    rows.append(Row("judging encoder", None, note=f"{encoder}, {mark}: {UNTOLD}"))
    return Beside(tuple(rows), measures, tuple(skipped), NOTES if measures else NOTES[:1])


def extract_features(encoder: Encoder, mark: str, clip: Clip) -> Seen:
    """Features of a clip, and its surprise where the encoder predicts; ``mark`` names the encoder."""
    features = clip_features(encoder, [clip])[0]
    if not isinstance(encoder, Foreseer):
        return Seen(features, ())
    window = fit_window(encoder, clip.frames.shape[1])
    if window is None:
        return Seen(features, ())
    stride = max(ceil((clip.frames.shape[1] - window.frames) / (MOST_WINDOWS - 1)), 1)
    found = surprise.surprise(encoder, clip, Windows(window.frames, window.contexts, stride))
    after = f"of {mark} after {window.contexts[0]} of {window.frames} frames"
    return Seen(
        features,
        (
            Row(f"surprise average {after}", float(found.average)),
            Row(f"surprise maximum {after}", float(found.maximum)),
        ),
    )


def _look_at_all(
    encoder: Encoder, mark: str, paths: list[Path], records: Path
) -> tuple[dict[Path, Seen], list[tuple[str, str]]]:
    """What was seen of each video, and why nothing was of the others."""
    found: dict[Path, Seen] = {}
    lost = []
    with progress_bar("videos") as progress:
        bar = progress.add_task("Looking", total=len(paths))
        for path in paths:
            stamp = stamp_of(WIDEST, MOST_FRAMES, mark, files=[path])
            record = Record(records / f"{path.name}.safetensors", stamp)
            kept = record.read()
            seen = None if kept is None else _read_seen(kept)
            if seen is None:
                try:
                    seen = extract_features(encoder, mark, require_picture(read_small(path), path.name))
                except Exception as error:  # whatever one video does, the others are looked at
                    lost.append((str(path), " ".join(str(error).split()) or type(error).__name__))
                else:
                    with suppress(OSError, SafetensorError):  # a second run looks again
                        measures = [asdict(row) for row in seen.measures]
                        record.write(measures, {"features": seen.features})
            if seen is not None:
                found[path] = seen
            progress.advance(bar)
    return found, lost


def _read_seen(kept: Kept) -> Seen:
    return Seen(kept.tensors["features"], tuple(Row(**row) for row in kept.words))
