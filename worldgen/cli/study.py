"""The commands that judge, compare and measure, as typed functions: `cli.main` makes options of them.

Heavy imports live inside: the help must be instant.
"""

from __future__ import annotations

from pathlib import Path


def compare(reports: list[Path], out: Path = Path("comparison")) -> None:
    """Put reports side by side: paired differences over the clips that they share, with intervals.

    Args:
        reports: Folders of reports of worldgen evaluate; the others are compared with the first.
        out: Folder of compare.csv and compare.tex.

    Example:
        worldgen compare report_a/ report_b/
    """
    from worldgen.evaluation.compare import compare_reports

    compare_reports(reports, out)


def ablate(
    experiment: Path,
    out: Path | None = None,
    dry_run: bool = False,
    retry: bool = False,
    renew: bool = False,
    engine: str = "processes",
    processes: int | None = None,
) -> None:
    """Train and evaluate every arm of a study with every seed, and say what is better than the base.

    Args:
        experiment: Yaml file that names configs, arms, seeds, budget, evaluation and the primary measure.
        out: Folder of the study, where another run goes on; outputs/studies/NAME when left out.
        dry_run: Print the cells, what is done and how long the rest takes; run nothing.
        retry: Run cells again that failed.
        renew: Run cells again whose config, code, data or weights changed; what they were is set aside.
        engine: local (one by one), processes, ray or slurm.
        processes: Cells side by side; one a core when left out.

    Example:
        worldgen ablate experiments/study/nano.yaml --dry-run
    """
    from worldgen.cli.train import TRAININGS
    from worldgen.study.ablation.experiment import read_experiment

    declared = read_experiment(experiment)
    for arm in declared.arms:
        try:
            TRAININGS["fit"].check(declared.layers(arm))
        except ValueError as error:
            raise ValueError(f"{experiment}: arm {arm.name}: {error}") from None
    from worldgen.data.engines.opening import open_engine
    from worldgen.study.ablation.ablate import run_study

    folder = Path("outputs/studies") / experiment.stem if out is None else out
    workers = open_engine(engine, processes, "worldgen.study.ablation.work")
    run_study(declared, folder, workers, dry_run, retry, renew)


def calibrate(
    out: Path,
    families: list[str] | None = None,
    clips: int = 20,
    source: str = "truth",
    seed: int = 0,
    run: Path | None = None,
    processes: int | None = None,
    engine: str = "processes",
) -> None:
    """Hold every check against truth, second takes and graded violations: what it sees, what it is blind to.

    Args:
        out: Folder of the tables and the heat map.
        families: Scene families; all when left out.
        clips: Worlds per family.
        source: truth (the simulator's states) or readout (tracked in pixels).
        seed: Of the first world.
        run: Folder of a trained generator, to measure its plausibility preference error on the same clips.
        processes: All cores when left out.
        engine: local (one by one), processes, ray or slurm.

    Example:
        worldgen calibrate --out calibration/ --clips 6
    """
    from worldgen.data.engines.opening import open_engine
    from worldgen.simulation.scenes.families import FAMILIES
    from worldgen.study.calibrate import calibrate_checks

    workers = open_engine(engine, processes)
    calibrate_checks(out, families or list(FAMILIES), clips, source, seed, run, engine=workers)


def sensitivity(
    run: Path,
    data: Path,
    out: Path = Path("sensitivity"),
    clips: int = 60,
    context_frames: int = 2,
    seed: int = 0,
) -> None:
    """Swap one condition at a time between clips: does the output change, and toward the swapped-in truth?

    Args:
        run: Folder of a trained generator.
        data: Folder of simulated shards that it was not trained on.
        out: Folder of the report: json, csv and a figure.
        clips: How many clips, the first ones.
        context_frames: First frames that the model is given.
        seed: Of the noise.

    Example:
        worldgen sensitivity assets/nano/generator --data data/test
    """
    from worldgen.study.sensitivity import sensitivity_folder

    sensitivity_folder(run, data, out, clips, context_frames, seed)
    print(f"Report: {out / 'sensitivity.json'}")


def retrieve(checkpoint: Path, data: Path, out: Path = Path("retrieval"), clips: int | None = None) -> None:
    """Measure how well an ImageBind finds what belongs together, against chance.

    Args:
        checkpoint: Folder of an ImageBind, such as assets/nano/imagebind, or imagebind_huge.pth.
        data: Folder of simulated shards that it was not trained on.
        out: Folder of the table (csv, json) and the plot.
        clips: Only the first so many.

    Example:
        worldgen retrieve assets/nano/imagebind --data data/test
    """
    from worldgen.study.retrieval import evaluate_retrieval

    evaluate_retrieval(checkpoint, data, out, clips)
    print(f"{out}/retrieval.csv")


def runs(
    folder: Path = Path("outputs"),
    base: Path | None = None,
    where: list[str] = [],  # noqa: B006 never written to
    sort: str = "name",
    measures: list[str] = [],  # noqa: B006 never written to
    csv: Path | None = None,
) -> None:
    """List run folders: state, step, time, measures, and how their configs differ from a base.

    Args:
        folder: All runs below it.
        base: Run folder that configs are compared with; the first of the list when left out.
        where: Only runs whose config says so: KEY=VALUE, keys with dots.
        sort: name, state, step, seconds, or a measure or part of its name; least first.
        measures: Columns to show, by name or part of it.
        csv: Table to write, with all measures and all keys that differ.

    Example:
        worldgen runs outputs --where seed_everything=0 --sort val/loss
    """
    from worldgen.runs.tables import print_runs

    print_runs(folder, base, where, sort, measures, csv)


def serve(
    runs: list[Path] = [],  # noqa: B006 never written to
    port: int = 8765,
    out: Path = Path("outputs/server"),
    no_browser: bool = False,
    token: str | None = None,
    studies: list[Path] = [],  # noqa: B006 never written to
    tools: bool = False,
) -> None:
    """Open a page that generates, judges and lists runs, with an HTTP API; on this machine only.

    Args:
        runs: Folders of trained generators; the shipped nano one when left out.
        port: Of 127.0.0.1; 0 for any that is free.
        out: Folder of jobs and uploads, where the next server finds them again.
        no_browser: Do not open the page in a browser.
        token: Letters and digits that each request must bring.
        studies: Folders of `worldgen ablate`, to be looked at and compared.
        tools: No page and no port: an MCP server for a program, by standard input and output.

    Example:
        worldgen serve assets/nano/generator --port 8765 --no-browser
    """
    from worldgen.server.serve import serve as run_server
    from worldgen.server.serve import serve_stdio

    if tools:
        serve_stdio(runs, out, studies)
        return
    run_server(runs, out, port, not no_browser, token, studies=studies)
