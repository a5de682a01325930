"""Does a video encoder tell possible from impossible? Pair folders, resumable, every loss accounted for.

What is written::

    OUT/report.json        the summary, each number with how many pairs it is over
    OUT/pairs.csv          one line per pair and number
    OUT/missing.csv        what is not there or could not be judged, and why; averaged over nowhere
    OUT/scores.jsonl       one line per video, so that a second run does only what is missing
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch

from worldgen import __version__
from worldgen.data.media import iterate_frames, mean_rate
from worldgen.data.progress import progress_bar
from worldgen.data.shards import write_atomically
from worldgen.encoders.base import Encoder, fingerprint
from worldgen.metrics import geophys
from worldgen.metrics.exhibits import Row
from worldgen.metrics.geophys import SIGNALS, clip_geometry
from worldgen.metrics.measures import Measure
from worldgen.metrics.pair_tests import pair_accuracy, separation, separation_interval
from worldgen.metrics.surprise import BLIND_TO, Foreseer, Standstill, Windows, require_fit, surprise
from worldgen.study.evaluation import print_rows
from worldgen.study.opening import open_encoder
from worldgen.study.pair_layouts import LAYOUTS, Missing, Pair, Pairs, frame_files
from worldgen.types import Clip

MOST_FRAMES = 200
"""Looked-at frames of a video; the rest is left out."""
FRAME_RATE = 15.0
"""Of folders of frames, which do not say it: IntPhys'."""
OFFICIAL = {"intphys": Windows(16, (4, 8, 12), 2, 2), "intphys2": Windows(48, (12, 24, 36), 2, 10)}
"""Frames, stride and skip of the authors; contexts of a quarter, a half and three quarters."""
NOTES = (
    "A pair is won when the impossible video has the strictly larger value; chance is 1/2. Contexts were "
    "fixed beforehand and all are shown; published numbers take the best one for each property.",
    "The binomial interval takes pairs for independent; that of AUROC draws whole scenes.",
    "Standstill expects the last known features to go on: what a predictor has to beat.",
    "Largest surprise and AUROC compare single videos of different scenes; the mean is for pairs.",
)

Scores = Mapping[str, float | None]
"""Numbers of one video by name; None where one does not apply."""
Score = Callable[[Clip], Scores]


@dataclass(frozen=True)
class Scored:
    """What was found about one video: numbers, or why there are none."""

    scores: Scores
    picture: str
    """Digest of its frames."""
    error: str = ""


def evaluate_pairs(
    benchmark: str, folder: Path, out: Path, encoder: str, windows: Windows | None, command: str
) -> Path:
    """Score every video of a pair folder by an encoder's surprise and geometry, and write the tables.

    Args:
        benchmark: intphys, intphys2 or likephys.
        folder: In the official layout.
        out: Folder of the tables.
        encoder: See `open_encoder`.
        windows: Of surprise; the official ones, as far as the encoder can look, when None.
        command: Repeats this.

    Returns:
        Path of report.json.

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
    judge = open_encoder(encoder)
    windows = fit_windows(judge, OFFICIAL.get(benchmark, Windows(skip=2))) if windows is None else windows
    if isinstance(judge, Foreseer):
        require_fit(judge, windows)
    mark = f"{type(judge).__name__}:{fingerprint(judge)} {windows}"
    videos = list(dict.fromkeys(path for pair in found.pairs for path in (pair.possible, pair.impossible)))
    out.mkdir(parents=True, exist_ok=True)
    scored = score_videos(
        videos, lambda clip: score_clip(judge, clip, windows), windows.skip, out / "scores.jsonl", mark
    )
    title = f"{benchmark} by {type(judge).__name__} {encoder}"
    return write_pairs(out, title, found, scored, (f"Encoder and windows: {mark}.", *NOTES), command)


def fit_windows(judge: Encoder, wanted: Windows) -> Windows:
    """The wanted windows, shortened to what the encoder can look at, contexts in proportion."""
    if not isinstance(judge, Foreseer) or judge.frames >= wanted.frames:
        return wanted
    tubelet = judge.tubelet
    frames = judge.frames // tubelet * tubelet
    contexts = {
        min(max(round(context / wanted.frames * frames / tubelet), 1) * tubelet, frames - tubelet)
        for context in wanted.contexts
    }
    return Windows(frames, tuple(sorted(contexts)), wanted.stride, wanted.skip)


def score_clip(judge: Encoder, clip: Clip, windows: Windows) -> Scores:
    """Surprise, where the encoder predicts, and the signals of GeoPhys, where its tokens have a time."""
    scores: dict[str, float | None] = {}
    if isinstance(judge, Foreseer):
        found = surprise(judge, clip, windows)
        for index, context in enumerate(windows.contexts):
            after = f"after {context} of {windows.frames} frames"
            scores[f"mean surprise {after}"] = float(found.average[0, index])
            scores[f"largest surprise {after}"] = float(found.maximum[0, index])
        if hasattr(judge, "context_only"):
            still = surprise(Standstill(judge), clip, windows).average[0]
            for index, context in enumerate(windows.contexts):
                name = f"standstill's surprise after {context} of {windows.frames} frames"
                scores[name] = float(still[index])
    if hasattr(judge, "positions"):
        shape = clip_geometry(judge, clip)[0]
        scores |= {f"GeoPhys {name}": None if shape is None else getattr(shape, name) for name in SIGNALS}
    if not scores:
        raise ValueError(
            f"{type(judge).__name__} can judge no video: it neither predicts nor says when its tokens are."
        )
    return scores


def score_videos(
    videos: Sequence[Path], score: Score, skip: int, file: Path, mark: str
) -> dict[Path, Scored]:
    """Numbers of every video; those that ``file`` has already, made in the same way, are not made again.

    Args:
        videos: Files, or folders of frames.
        score: What to measure.
        skip: Every so many frames one is looked at.
        file: Grows by one line per video.
        mark: Names the way of measuring.
    """
    known = _read_scores(file)
    found: dict[Path, Scored] = {}
    with progress_bar("videos") as progress:
        task = progress.add_task("Watching", total=len(videos))
        for path in videos:
            key = _key(path, mark)
            if key not in known:
                known[key] = _watch(path, score, skip)
                if not known[key].error:
                    line = json.dumps({"key": key, "file": str(path), **asdict(known[key])})
                    with open(file, "a", encoding="utf-8") as lines:
                        lines.write(f"\n{line}\n")  # a new line first: the last one may have been cut off
            found[path] = known[key]
            progress.advance(task)
    return found


def read_movie(path: Path, skip: int) -> Clip:
    """Every ``skip``-th frame of a video or of a folder of frames.

    Raises:
        ValueError: It cannot be read, or shows one flat color.
    """
    if path.is_dir():
        files = frame_files(path)[::skip][:MOST_FRAMES]
        if not files:
            raise ValueError(f"{path} must hold frames; it holds none. Copy it again.")
        frames = [next(iterate_frames(file))[0] for file in files]
        rate = FRAME_RATE / skip
    else:
        looked = list(islice(iterate_frames(path), 0, MOST_FRAMES * skip, skip))
        frames, rate = [frame for frame, _ in looked], mean_rate([seconds for _, seconds in looked])
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{path} must have frames of one size; got several. Convert it.")
    pixels = torch.stack([torch.from_numpy(frame) for frame in frames]).permute(0, 3, 1, 2)  # (T, 3, H, W)
    if bool((pixels.amax(dim=(0, 2, 3)) == pixels.amin(dim=(0, 2, 3))).all()):
        raise ValueError(f"{path.name} shows one flat color throughout")
    return Clip(pixels[None].float() / 255, torch.tensor([rate]), ("",))


def measure_pairs(pairs: Sequence[Pair], scored: Mapping[Path, Scored]) -> tuple[Measure, ...]:
    """Pair accuracy and AUROC of every number; the accuracy of means also for each kind of violation."""
    measures = []
    for name in _names(scored):
        usable = [pair for pair in pairs if _both(pair, scored, name) is not None]
        blind = BLIND_TO if "surprise" in name else geophys.BLIND_TO
        left = len(pairs) - len(usable)
        note = f"{left} of {len(pairs)} pairs without a value: nothing moves" if left else ""
        if not usable:
            measures.append(Measure(name, None, "of pairs", "higher", 0.5, "physics", 0, note=note))
            continue
        measures.append(_accuracy(f"{name}: pairs won", usable, scored, name, note, blind))
        possible, impossible = _columns(usable, scored, name)
        scenes = [pair.scene for pair in usable]
        measures.append(
            Measure(
                f"{name}: AUROC",
                separation(possible, impossible),
                "",
                "higher",
                0.5,
                "physics",
                len(usable),
                *separation_interval(possible, impossible, scenes),
                note=f"{len(set(scenes))} scenes",
                blind_to=blind,
            )
        )
        kinds = sorted({pair.kind for pair in usable})
        if name.startswith("mean surprise") and len(kinds) > 1:
            measures += [
                _accuracy(
                    f"{name}: pairs won, {kind}",
                    [pair for pair in usable if pair.kind == kind],
                    scored,
                    name,
                    "",
                    blind,
                )
                for kind in kinds
            ]
    return tuple(measures)


def write_pairs(
    out: Path,
    title: str,
    found: Pairs,
    scored: Mapping[Path, Scored],
    notes: Sequence[str],
    command: str,
) -> Path:
    """Write the tables, print the summary, and return the path of report.json.

    Raises:
        ValueError: No pair can be judged.
    """
    missing, whole = list(found.missing), []
    missing += [Missing(str(path), one.error) for path, one in scored.items() if one.error]
    for pair in found.pairs:
        ours, theirs = scored[pair.possible], scored[pair.impossible]
        if ours.error or theirs.error:
            continue
        if ours.picture == theirs.picture:
            missing.append(
                Missing(str(pair.impossible), f"shows the same frames as {pair.possible}, its pair")
            )
        else:
            whole.append(pair)
    if not whole:
        raise ValueError(
            f"None of {found.expected} pairs can be judged; {missing[0].file}: {missing[0].reason}."
        )
    measures = measure_pairs(whole, scored)
    rows = [Row("pairs judged", float(len(whole)), unit=f"of {found.expected}"), *(m.row() for m in measures)]
    rows.append(Row("files missing or refused", float(len(missing)), note="with reasons in missing.csv"))
    report = {
        "title": title,
        "command": command,
        "versions": {"worldgen": __version__, "torch": torch.__version__},
        "pairs": {"judged": len(whole), "expected": found.expected},
        "measures": [asdict(measure) for measure in measures],
        "missing": [asdict(one) for one in missing],
        "notes": list(notes),
    }
    lines = [
        [pair.kind, pair.scene, str(pair.possible), str(pair.impossible), name, *values]
        for pair in whole
        for name in _names(scored)
        if (values := _both(pair, scored, name)) is not None
    ]
    heads = ["kind", "scene", "possible", "impossible", "number", "value_possible", "value_impossible"]
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "pairs.csv", _csv(heads, lines))
    write_atomically(out / "missing.csv", _csv(["file", "reason"], ([m.file, m.reason] for m in missing)))
    write_atomically(out / "report.json", json.dumps(report, indent=1, allow_nan=False).encode())
    print_rows(rows)
    return out / "report.json"


def _watch(path: Path, score: Score, skip: int) -> Scored:
    try:
        clip = read_movie(path, skip)
        picture = hashlib.sha256(clip.frames.numpy().tobytes()).hexdigest()[:16]
        return Scored(score(clip), picture)
    except (ValueError, OSError) as error:
        return Scored({}, "", " ".join(str(error).split()))


def _accuracy(
    title: str,
    pairs: Sequence[Pair],
    scored: Mapping[Path, Scored],
    name: str,
    note: str,
    blind_to: tuple[str, ...],
) -> Measure:
    result = pair_accuracy(*_columns(pairs, scored, name))
    notes = [note] if note else []
    notes += [f"{result.ties} ties, lost"] if result.ties else []
    return Measure(
        title, result.share, "of pairs", "higher", 0.5, "physics", result.pairs, result.low, result.high,
        note="; ".join(notes), blind_to=blind_to,
    )  # fmt: skip


def _names(scored: Mapping[Path, Scored]) -> list[str]:
    return list(dict.fromkeys(name for one in scored.values() for name in one.scores))


def _both(pair: Pair, scored: Mapping[Path, Scored], name: str) -> tuple[float, float] | None:
    ours, theirs = scored[pair.possible].scores.get(name), scored[pair.impossible].scores.get(name)
    return None if ours is None or theirs is None else (ours, theirs)


def _columns(
    pairs: Iterable[Pair], scored: Mapping[Path, Scored], name: str
) -> tuple[list[float], list[float]]:
    values = [_both(pair, scored, name) for pair in pairs]
    return [both[0] for both in values if both], [both[1] for both in values if both]


def _key(path: Path, mark: str) -> str:
    files = frame_files(path) if path.is_dir() else [path]
    marks = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(json.dumps([mark, marks]).encode(), digest_size=16).hexdigest()


def _read_scores(file: Path) -> dict[str, Scored]:
    """What an earlier run found; lines that were cut off are left out."""
    found = {}
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
            found[line["key"]] = Scored(dict(line["scores"]), str(line["picture"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _csv(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(lines)
    return text.getvalue().encode()
