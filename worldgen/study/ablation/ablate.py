"""A study from one command: every arm proved to differ, every cell run once, a table to believe."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event, Thread

from rich.console import Console
from rich.table import Table

from worldgen.data.engines.engine import Engine
from worldgen.data.engines.opening import open_engine
from worldgen.files import progress_bar, write_atomically
from worldgen.study.ablation.cells import Cell, State, Study
from worldgen.study.ablation.experiment import Budget, Experiment, read_experiment
from worldgen.study.ablation.page import write_page
from worldgen.study.ablation.tables import Results, gather, write_tables
from worldgen.study.ablation.work import STEP_FILE, Trial, run_cell, try_arm
from worldgen.study.statistics import visible_change

_DECLARED, _STEPS = "declared.json", "steps.json"
_TRIED = 1000
"""Steps of the schedule of which a trial takes the first few, where the budget is in seconds."""


def ablate(experiment: str | Path, out: str | Path | None = None, processes: int | None = None) -> Results:
    """Every arm of a declared study, trained and evaluated with every seed, against its base.

    What is done in the folder is kept, and what was stopped goes on; ``worldgen ablate`` writes the same one.

    Args:
        experiment: Yaml file that declares the study.
        out: Folder of tables, page and cells; outputs/studies/NAME of the file when None.
        processes: Cells side by side; one a core when None. With more than one, a script needs the usual
            ``if __name__ == "__main__":``.

    Raises:
        FileNotFoundError: The file, or one that it names, is not there.
        ValueError: It declares what cannot be meant; see `run_study`.
    """
    declared = read_experiment(Path(experiment))
    folder = Path("outputs/studies") / Path(experiment).stem if out is None else Path(out)
    engine = open_engine("processes", processes, "worldgen.study.ablation.work")
    results = run_study(declared, folder, engine, dry_run=False, retry=False, renew=False)
    assert results is not None
    return results


def run_study(
    experiment: Experiment, out: Path, engine: Engine, dry_run: bool, retry: bool, renew: bool
) -> Results | None:
    """Run what of a study is not done yet, and write its tables and page.

    Args:
        experiment: As declared.
        out: Folder of the study; another run of it goes on there.
        engine: Runs cells side by side.
        dry_run: Print the cells, what is there and how long it would take; run none.
        retry: Run the failed cells again.
        renew: Run cells again of which config, code, data or weights changed; what they were is set aside.

    Returns:
        What the finished cells say; None of a dry run.

    Raises:
        ValueError: An arm does not run, or does what the base does; a measure that nobody makes; another
            primary measure than was declared; cells that failed, once all others are done.
        BlockingIOError: Another process works in the folder.
    """
    with _claimed(out):
        _require_declared(experiment, out)
        trials = _try_arms(experiment, out, engine)
        _require_connected(experiment, trials)
        study = Study(experiment, out, _steps(experiment, out, trials))
        cells = study.cells()
        states = [cell.state for cell in cells]
        if renew:
            _set_aside(cells, states, out)
            states = [cell.state for cell in cells]
        wanted = {"to do", "to resume"} | ({"failed"} if retry else set())
        numbers = [number for number, state in enumerate(states) if state.word in wanted]
        _print_plan(study, cells, states, numbers, trials)
        if dry_run:
            return None
        write_atomically(out / _DECLARED, _declaration(experiment))
        if numbers:
            _run(study, cells, numbers, engine)
        states = [cell.state for cell in cells]
        results = gather(study, cells, states)
        write_tables(results, out)
        page = write_page(study, results, trials, cells, states)
        _print_results(results, page)
        _require_finished(cells, states)
    return results


def _run(study: Study, cells: Sequence[Cell], numbers: Sequence[int], engine: Engine) -> None:
    """All of them, with one progress over all; whoever fails is told at once."""
    done: set[int] = set()
    with progress_bar("steps") as progress, _watching() as over:
        total = sum(cells[number].steps for number in numbers)
        bar = progress.add_task(f"{len(numbers)} cells", total=total)

        def watch() -> None:
            while not over.wait(1):
                at = [cells[n].steps if n in done else _read_step(cells[n]) for n in numbers]
                progress.update(bar, completed=sum(at))

        Thread(target=watch, daemon=True).start()
        for number, sentence in engine.run(partial(run_cell, study), numbers):
            done.add(number)
            if sentence:
                progress.console.print(f"{cells[number].name} failed: {sentence}", markup=False)
        progress.update(bar, completed=total)


@contextmanager
def _watching() -> Iterator[Event]:
    over = Event()
    try:
        yield over
    finally:
        over.set()


def _read_step(cell: Cell) -> int:
    with suppress(OSError, ValueError):
        return int((cell.folder / STEP_FILE).read_text())
    return 0


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """The folder, for this process alone; the system takes the claim back when it dies."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise FileExistsError(f"--out must be a folder; {out} is a file. Give another.") from None
    handle = os.open(out / "lock", os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another worldgen ablate works in {out}; wait for it, or give another --out."
            ) from None
        yield
    finally:
        os.close(handle)


def _declaration(experiment: Experiment) -> bytes:
    """What decides, written down before any cell runs."""
    declared = {"primary": experiment.primary, "measures": list(experiment.measures)}
    return (json.dumps(declared, indent=2) + "\n").encode()


def _require_declared(experiment: Experiment, out: Path) -> None:
    path = out / _DECLARED
    if path.is_file() and path.read_bytes() != _declaration(experiment):
        before = json.loads(path.read_text(encoding="utf-8"))
        raise ValueError(
            f"{out} was declared with the primary measure {before.get('primary')} and measures "
            f"{', '.join(before.get('measures', []))}; another choice now would be one after looking. Change "
            "it back, or give another --out."
        )


def _try_arms(experiment: Experiment, out: Path, engine: Engine) -> list[Trial]:
    """A trial of each arm; those of before are kept while nothing that they depend on changed."""
    study = Study(experiment, out, (experiment.budget.steps or _TRIED,) * len(experiment.arms))
    cells = study.cells()[: len(experiment.arms)]
    paths = [out / "trials" / f"{cell.arm.name}-{_short(cell)}.json" for cell in cells]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if missing:
        with progress_bar("arms") as progress:
            bar = progress.add_task("Trying", total=len(missing))
            for number, trial in engine.run(partial(try_arm, study), missing):
                write_atomically(paths[number], (json.dumps(asdict(trial)) + "\n").encode())
                progress.advance(bar)
    return [_read_trial(path) for path in paths]


def _short(cell: Cell) -> str:
    return "".join(part[:4] for part in asdict(cell.mark).values())


def _read_trial(path: Path) -> Trial:
    content = json.loads(path.read_text(encoding="utf-8"))
    start = tuple((name, mark) for name, mark in content["start"])
    return Trial(**{**content, "start": start, "measures": tuple(content["measures"])})


def _require_connected(experiment: Experiment, trials: Sequence[Trial]) -> None:
    base, *others = trials
    for arm, trial in zip(experiment.arms[1:], others, strict=True):
        if not trial.connected(base):
            raise ValueError(
                f"Arm {arm.name} trains and generates the very bits of the base: what it sets reaches "
                "nothing. Correct it, or take it out."
            )
    known = sorted({name for trial in trials for name in trial.measures})
    for measure in experiment.measures:
        if measure not in known:
            near = difflib.get_close_matches(measure, known, 1, 0.4)
            told = f"Did you mean {near[0]}?" if near else ""
            raise ValueError(f"No report has the measure {measure}. {told} There are: {', '.join(known)}.")


def _steps(experiment: Experiment, out: Path, trials: Sequence[Trial]) -> tuple[int, ...]:
    """Optimizer steps of each arm: those of the budget, or as many as its seconds or clips allow."""
    budget = experiment.budget
    if budget.steps is not None:
        return (budget.steps,) * len(experiment.arms)
    path = out / _STEPS  # measured once: a study that goes on has the same cells
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for arm, trial in zip(experiment.arms, trials, strict=True):
        if arm.name not in before:
            before[arm.name] = _afford(budget, trial, experiment.settings(arm).get("data.batch_size", 16))
    write_atomically(path, (json.dumps(before, indent=2) + "\n").encode())
    return tuple(before[arm.name] for arm in experiment.arms)


def _afford(budget: Budget, trial: Trial, batch_size: object) -> int:
    if budget.clips is not None:
        return max(1, budget.clips // int(str(batch_size)))
    assert budget.seconds is not None
    return max(1, int(budget.seconds / trial.step_seconds))


def _set_aside(cells: Sequence[Cell], states: Sequence[State], out: Path) -> None:
    for cell, state in zip(cells, states, strict=True):
        if state.word != "stale":
            continue
        goal, number = out / "set_aside" / cell.arm.name, 1
        while (goal / f"{cell.folder.name}-{number}").exists():
            number += 1
        goal.mkdir(parents=True, exist_ok=True)
        os.replace(cell.folder, goal / f"{cell.folder.name}-{number}")


def _print_plan(
    study: Study,
    cells: Sequence[Cell],
    states: Sequence[State],
    numbers: Sequence[int],
    trials: Sequence[Trial],
) -> None:
    console, experiment = Console(markup=False, emoji=False), study.experiment
    by_arm = dict(zip((arm.name for arm in experiment.arms), trials, strict=True))
    table = Table(
        box=None, title=f"{len(cells)} cells, {experiment.budget} each; primary: {experiment.primary}"
    )
    for column in ("arm", "seeds", "steps", "trained weights", "of them as in base", "state"):
        table.add_column(column, justify="left" if column in ("arm", "seeds", "state") else "right")
    base = dict(trials[0].start)
    for arm, steps in zip(experiment.arms, study.steps, strict=True):
        trial, of_arm = by_arm[arm.name], [s for c, s in zip(cells, states, strict=True) if c.arm == arm]
        same = sum(base.get(name) == mark for name, mark in trial.start)
        words = ", ".join(f"{count} {word}" for word, count in Counter(s.word for s in of_arm).items())
        seeds = " ".join(map(str, experiment.seeds))
        shared = f"{same} of {len(trial.start)} tensors"
        table.add_row(arm.name, seeds, str(steps), f"{trial.parameters:,}", shared, words)
    console.print(table)
    for cell, state in zip(cells, states, strict=True):
        if state.word in ("stale", "failed"):
            hint = "--renew runs it again" if state.word == "stale" else "--retry runs it again"
            console.print(f"{cell.name}: {state.word}, {state.why}; {hint}.")
    seconds = sum(
        _estimate(study, cells[number], by_arm[cells[number].arm.name], cells) for number in numbers
    )
    if numbers:
        console.print(f"To run: {len(numbers)} cells, about {seconds / 60:.1f} minutes of one core.")
    clips, seeds = experiment.evaluation.clips or 100, len(experiment.seeds)
    if seeds > 3:
        least = visible_change(1.0, 0.1, 1.0, seeds, clips)
        console.print(
            f"With {seeds} seeds and {clips} clips a change of {least:.2g} of the spread between clips is "
            "seen in 4 of 5 studies, if seeds differ by a tenth of that spread."
        )
    else:
        console.print(f"{seeds} seeds are a screening: no verdict is said below 4.")


def _estimate(study: Study, cell: Cell, trial: Trial, cells: Sequence[Cell]) -> float:
    """Seconds of a cell on one core: those of a finished one of its arm, or what a short run says."""
    for other in cells:
        if other.arm == cell.arm and other.state.word == "finished" and (progress := other.read()):
            return progress.fit_seconds + progress.evaluate_seconds
    clips = study.experiment.evaluation.clips or 100
    return cell.steps * trial.step_seconds + clips * trial.judge_seconds


def _print_results(results: Results, page: Path) -> None:
    console = Console(markup=False, emoji=False)
    table = Table(box=None, title=f"{results.primary}, against the base")
    for column in ("arm", "mean", "change", "95 % interval", "p (Holm)", "verdict"):
        table.add_column(column, justify="left" if column in ("arm", "verdict") else "right")
    for row in results.rows:
        if row.measure != results.primary:
            continue
        low_high = "–" if row.low is None or row.high is None else f"{row.low:+.3g} .. {row.high:+.3g}"
        p = "–" if row.p_adjusted is None else f"{row.p_adjusted:.3f}"
        change = "–" if row.change is None else f"{row.change:+.3g}"
        mean = "–" if row.mean is None else f"{row.mean:.3g}"
        table.add_row(row.arm, mean, change, low_high, p, row.verdict)
    console.print(table)
    console.print(f"Page: {page}")


def _require_finished(cells: Sequence[Cell], states: Sequence[State]) -> None:
    failed = [(cell, state) for cell, state in zip(cells, states, strict=True) if state.word == "failed"]
    if failed:
        cell, state = failed[0]
        raise ValueError(
            f"{len(failed)} of {len(cells)} cells failed and are left out of the tables; {cell.name}: "
            f"{state.why} Mend it, and run the same command with --retry."
        )
