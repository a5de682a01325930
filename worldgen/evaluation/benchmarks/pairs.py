"""Does a video encoder tell possible from impossible? Pair folders, resumable, every loss accounted for.

What is written::

    OUT/report.html        the same to read, with plots
    OUT/report.json        the summary, each number with how many pairs it is over
    OUT/pairs.csv          one line per pair and number
    OUT/missing.csv        what is not there or could not be judged, and why; averaged over nowhere
    OUT/scores/            one file per video, so that a second run does only what is missing
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from worldgen.data.videos import frame_files, read_movie
from worldgen.encoders.base import Encoder, fingerprint, load_encoder
from worldgen.evaluation.benchmarks.pair_layouts import LAYOUTS
from worldgen.evaluation.benchmarks.pair_tables import Scored, Scores, write_pairs
from worldgen.evaluation.kept import Record, stamp_of
from worldgen.files import progress_bar
from worldgen.metrics.geophys import SIGNALS, clip_geometry, count_moments
from worldgen.metrics.surprise import Foreseer, Standstill, Windows, fit_windows, require_fit, surprise
from worldgen.types import Clip

OFFICIAL = {"intphys": Windows(16, (4, 8, 12), 2, 2), "intphys2": Windows(48, (12, 24, 36), 2, 10)}
"""Frames, stride and skip of the authors; contexts of a quarter, a half and three quarters."""
NOTES = (
    "A pair is won when the impossible video has the strictly larger value; chance is 1/2. Contexts were "
    "fixed beforehand and all are shown; published numbers take the best one for each property.",
    "The binomial interval takes pairs for independent; that of AUROC draws whole scenes.",
    "Standstill expects the last known features to go on: what a predictor has to beat.",
    "Largest surprise and AUROC compare single videos of different scenes; the mean is for pairs.",
)

Score = Callable[[Clip], Scores]


def evaluate_pairs(benchmark: str, folder: Path, out: Path, encoder: str, windows: Windows | None) -> Path:
    """Score every video of a pair folder by an encoder's surprise and geometry, and write the tables.

    Args:
        benchmark: intphys, intphys2 or likephys.
        folder: In the official layout.
        out: Folder of the tables.
        encoder: See `load_encoder`.
        windows: Of surprise; the official ones, as far as the encoder can look, when None.

    Returns:
        Path of report.html.

    Raises:
        FileNotFoundError: No such folder or encoder.
        ValueError: Another benchmark or layout, or no pair that can be judged.
    """
    if benchmark not in LAYOUTS:
        raise ValueError(f"--benchmark with --pairs takes {', '.join(LAYOUTS)}; got {benchmark!r}.")
    found = LAYOUTS[benchmark](folder)
    if not found.pairs:
        first = f"; the first: {found.missing[0].file}: {found.missing[0].reason}" if found.missing else ""
        raise ValueError(f"None of {found.expected} pairs in {folder} is whole{first}.")
    loaded = load_encoder(encoder)
    windows = fit_windows(loaded, OFFICIAL.get(benchmark, Windows(skip=2))) if windows is None else windows
    if isinstance(loaded, Foreseer):
        require_fit(loaded, windows)
    mark = f"{type(loaded).__name__}:{fingerprint(loaded)} {windows}"
    videos = list(dict.fromkeys(path for pair in found.pairs for path in (pair.possible, pair.impossible)))
    out.mkdir(parents=True, exist_ok=True)
    scored = score_videos(
        videos, lambda clip: score_clip(loaded, clip, windows), windows.skip, out / "scores", mark
    )
    title = f"{benchmark} by {type(loaded).__name__} {encoder}"
    return write_pairs(out, title, found, scored, (f"Encoder and windows: {mark}.", *NOTES))


def score_clip(encoder: Encoder, clip: Clip, windows: Windows) -> Scores:
    """Surprise, where the encoder predicts, and the signals of GeoPhys, where its tokens have a time."""
    scores: dict[str, float | None] = {}
    if isinstance(encoder, Foreseer):
        found = surprise(encoder, clip, windows)
        for index, context in enumerate(windows.contexts):
            after = f"after {context} of {windows.frames} frames"
            scores[f"mean surprise {after}"] = float(found.average[0, index])
            scores[f"largest surprise {after}"] = float(found.maximum[0, index])
        if hasattr(encoder, "context_only"):
            still = surprise(Standstill(encoder), clip, windows).average[0]
            for index, context in enumerate(windows.contexts):
                name = f"standstill's surprise after {context} of {windows.frames} frames"
                scores[name] = float(still[index])
    if count_moments(encoder, clip) is not None:
        shape = clip_geometry(encoder, clip)[0]
        scores |= {f"GeoPhys {name}": None if shape is None else getattr(shape, name) for name in SIGNALS}
    if not scores:
        raise ValueError(
            f"{type(encoder).__name__} can judge no video: it neither predicts nor says when its tokens are."
        )
    return scores


def score_videos(
    videos: Sequence[Path], score: Score, skip: int, folder: Path, mark: str
) -> dict[Path, Scored]:
    """Numbers of every video; those that ``folder`` has already, made in the same way, are not made again.

    Args:
        videos: Files, or folders of frames.
        score: What to measure.
        skip: Every so many frames one is looked at.
        folder: Where they are kept.
        mark: Names the way of measuring.
    """
    found: dict[Path, Scored] = {}
    with progress_bar("videos") as progress:
        task = progress.add_task("Watching", total=len(videos))
        for path in videos:
            record = _record(folder, path, mark)
            if (kept := record.read()) is not None:
                found[path] = Scored(**kept.words)
            else:
                found[path] = _watch(path, score, skip)
                if not found[path].error:
                    record.write(asdict(found[path]))
            progress.advance(task)
    return found


def _watch(path: Path, score: Score, skip: int) -> Scored:
    try:
        clip = read_movie(path, skip)
        picture = hashlib.sha256(clip.frames.numpy().tobytes()).hexdigest()[:16]
        return Scored(score(clip), picture)
    except (ValueError, OSError) as error:
        return Scored({}, "", " ".join(str(error).split()))


def _record(folder: Path, path: Path, mark: str) -> Record:
    """Where the numbers of a video go: videos of many scenes have the same name."""
    name = hashlib.blake2b(f"{path} {mark}".encode(), digest_size=16).hexdigest()
    files = frame_files(path) if path.is_dir() else [path]
    return Record(folder / f"{name}.safetensors", stamp_of(mark, files=files))
