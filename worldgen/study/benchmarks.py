"""Published benchmarks by name, as a command: what each of them takes, and what repeats it.

Heavy imports live inside: the help must be instant.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("physics-iq", "intphys", "intphys2", "likephys", "videophy2", "phygeneval")


def evaluate_benchmark(
    benchmark: str,
    out: Path = Path("report"),
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
    contexts: list[int] | None = None,
    skip: int | None = None,
) -> None:
    """Run a published benchmark.

    Physics-IQ: --benchmark physics-iq --generated FOLDER --real FOLDER; a second run goes on. An encoder, by
    possible and impossible videos: --benchmark intphys|intphys2|likephys --pairs FOLDER --encoder WHICH. A
    vision-language model as judge: --benchmark videophy2|phygeneval --videos FOLDER --judge WHICH.

    Args:
        benchmark: physics-iq, intphys, intphys2, likephys, videophy2 or phygeneval.
        out: Folder of the report.
        generated: Folder of generated videos, named with Physics-IQ's numbers.
        real: Physics-IQ's folder of real videos.
        processes: Of physics-iq: comparing processes; all cores when left out.
        videos: Folder of the videos that are judged.
        judge: Folder or id of a vision-language model, or ADDRESS#MODEL of an OpenAI-compatible server, whose
            key is in OPENAI_API_KEY.
        words: Yaml file with other words of the judge's questions.
        questions: PhyGenBench's folder of json files.
        pairs: Folder of the benchmark's videos, as published.
        encoder: Folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml file with class_path and init_args.
        window: Frames of a window of surprise; the benchmark's own, contexts and skip too, when left out.
        contexts: Known first frames of a window; a half when left out.
        skip: Every so many frames one is looked at, with --window.
    """
    if benchmark not in NAMES:
        raise ValueError(f"--benchmark takes {', '.join(NAMES)}; got {benchmark!r}.")
    command = f"worldgen evaluate --benchmark {benchmark}"
    if benchmark == "physics-iq":
        if generated is None or real is None:
            raise ValueError("--benchmark physics-iq takes --generated FOLDER and --real FOLDER; give both.")
        from worldgen.evaluation.benchmarks.physics_iq import evaluate_physics_iq

        command += f" --generated {generated} --real {real} --out {out}"
        page = evaluate_physics_iq(generated, real, out, command, processes)
    elif judge is not None:
        if videos is None:
            raise ValueError(f"--benchmark {benchmark} --judge takes --videos FOLDER too; give it.")
        from worldgen.evaluation.benchmarks.vlm import evaluate_opinions, open_judge

        command += f" --videos {videos} --judge {judge} --out {out}"
        command += (f" --words {words}" if words else "") + (f" --questions {questions}" if questions else "")
        page = evaluate_opinions(benchmark, videos, out, open_judge(judge), words, questions, command)
    else:
        if pairs is None or encoder is None:
            raise ValueError(
                f"--benchmark {benchmark} takes --pairs FOLDER and --encoder WHICH, or --videos FOLDER and "
                "--judge WHICH; give both of one kind."
            )
        if window is None and (contexts is not None or skip is not None):
            raise ValueError("--contexts and --skip go with --window; give it too, or leave them out.")
        from worldgen.evaluation.benchmarks.pairs import evaluate_pairs
        from worldgen.metrics.surprise import Windows

        command += f" --pairs {pairs} --encoder {encoder} --out {out}"
        windows = None
        if window is not None:
            windows = Windows(window, tuple(contexts or [window // 2]), skip=1 if skip is None else skip)
            known = " ".join(map(str, windows.contexts))
            command += f" --window {window} --contexts {known} --skip {windows.skip}"
        page = evaluate_pairs(benchmark, pairs, out, encoder, windows, command)
    print(f"Report: {page}")
