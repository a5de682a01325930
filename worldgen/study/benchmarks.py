"""Published benchmarks by name: what each of them takes, and the command that repeats it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

NAMES = ("physics-iq", "intphys", "intphys2", "likephys", "videophy2", "phygeneval")


def evaluate_benchmark(
    name: str,
    out: Path,
    generated: Path | None = None,
    real: Path | None = None,
    processes: int | None = None,
    videos: Path | None = None,
    judge: str | None = None,
    words: Path | None = None,
    questions: Path | None = None,
    pairs: Path | None = None,
    encoder: str | None = None,
    window: int | None = None,
    contexts: Sequence[int] | None = None,
    skip: int | None = None,
) -> Path:
    """Run a benchmark: Physics-IQ, an encoder on pairs, or a judge on videos.

    See `physics_iq`, `pairs` and `opinions` for what each of them takes.

    Raises:
        ValueError: Something that the benchmark takes is missing, or goes with something else.
    """
    if name not in NAMES:
        raise ValueError(f"--benchmark takes {', '.join(NAMES)}; got {name!r}.")
    command = f"worldgen evaluate --benchmark {name}"
    if name == "physics-iq":
        if generated is None or real is None:
            raise ValueError("--benchmark physics-iq takes --generated FOLDER and --real FOLDER; give both.")
        from worldgen.study.physics_iq import evaluate_physics_iq

        command += f" --generated {generated} --real {real} --out {out}"
        return evaluate_physics_iq(generated, real, out, command, processes)
    if judge is not None:
        if videos is None:
            raise ValueError(f"--benchmark {name} --judge takes --videos FOLDER too; give it.")
        from worldgen.study.opinions import evaluate_opinions, open_judge

        command += f" --videos {videos} --judge {judge} --out {out}"
        command += (f" --words {words}" if words else "") + (f" --questions {questions}" if questions else "")
        return evaluate_opinions(name, videos, out, open_judge(judge), words, questions, command)
    if pairs is None or encoder is None:
        raise ValueError(
            f"--benchmark {name} takes --pairs FOLDER and --encoder WHICH, or --videos FOLDER and --judge "
            "WHICH; give both of one kind."
        )
    if window is None and (contexts is not None or skip is not None):
        raise ValueError("--contexts and --skip go with --window; give it too, or leave them out.")
    from worldgen.metrics.surprise import Windows
    from worldgen.study.pairs import evaluate_pairs

    command += f" --pairs {pairs} --encoder {encoder} --out {out}"
    windows = None
    if window is not None:
        windows = Windows(window, tuple(contexts or [window // 2]), skip=1 if skip is None else skip)
        known = " ".join(map(str, windows.contexts))
        command += f" --window {window} --contexts {known} --skip {windows.skip}"
    return evaluate_pairs(name, pairs, out, encoder, windows, command)
