"""Recipes run: each stage is skipped while its words, its inputs and its code are what they were."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worldgen.runs.recipes.stage_records import (
    StageRecord,
    code_of,
    describe_change,
    digest_path,
    machine,
    read_record,
    write_record,
)
from worldgen.runs.recipes.stages import RecipeStage, read_recipe

_LAST = Path("checkpoints") / "last.ckpt"


@dataclass(frozen=True)
class StageState:
    """Where a stage stands."""

    word: str
    """done, changed, stopped or to do."""
    because: str = ""
    """What changed."""
    seconds: float | None = None
    """It takes: of its last run on this machine, or what the recipe says; None where neither is known."""
    measured: bool = False

    def __str__(self) -> str:
        return f"{self.word}: {self.because}" if self.because else self.word

    @property
    def told(self) -> str:
        """Its time in words."""
        if self.seconds is None:
            return "time not known"
        text = f"about {timedelta(seconds=max(1, round(self.seconds)))}"
        return text if self.measured else f"{text} by the recipe"


def run_recipe(
    path: Path,
    out: Path,
    check: Callable[[Sequence[str]], None],
    run: Callable[[Sequence[str]], None],
    dry: bool = False,
) -> list[RecipeStage]:
    """Run the stages of a recipe that are not done.

    A stage that was stopped goes on, a fit from its checkpoint. What a changed stage made before is set aside
    as ``NAME.before``.

    Args:
        path: Of the recipe.
        out: What ``{out}`` stands for.
        check: Refuses words that are no command.
        run: Runs words.
        dry: Only say where the stages stand.

    Raises:
        ValueError: A recipe that cannot be run, before anything is; a stage that did not make what it says.
    """
    stages = read_recipe(path, out, check)
    console = Console(markup=False, emoji=False)
    states = plan_stages(stages)
    console.print(_table(stages, states))
    _say_total(console, states)
    if dry:
        return stages
    for number, stage in enumerate(stages):
        state = stage_state(stage, stages)
        title = f"{number + 1}/{len(stages)} {stage.name}"
        if state.word == "done":
            console.print(f"{title}: done before, kept")
            continue
        console.rule(f"{title}: {state.told}")
        _run_stage(stage, stages, state, run)
    return stages


def plan_stages(stages: Sequence[RecipeStage]) -> list[StageState]:
    """Where each stage stands; one whose input is made anew is to be looked at again when that is done."""
    states: list[StageState] = []
    for stage in stages:
        state = stage_state(stage, stages)
        waiting = [
            other.name
            for other, its in zip(stages, states, strict=False)
            if its.word != "done" and any(_within(need, other) for need in stage.needs)
        ]
        if state.word == "done" and waiting:
            state = replace(state, word="changed", because=f"perhaps, by {waiting[0]}")
        states.append(state)
    return states


def stage_state(stage: RecipeStage, stages: Sequence[RecipeStage]) -> StageState:
    """Where one stage stands, by its record and what is there now."""
    kept = read_record(stage.makes[0])
    state = StageState("to do", seconds=None if stage.minutes is None else 60 * stage.minutes)
    if kept is None:
        return state
    if kept.seconds is not None and kept.machine == machine():
        state = replace(state, seconds=kept.seconds, measured=True)
    change = describe_change(kept, _record(stage, stages, kept))
    gone = [path for path in stage.makes if not path.exists()]
    if change:
        return replace(state, word="changed", because=change)
    if not kept.done:
        return replace(state, word="stopped")
    return (
        replace(state, word="changed", because=f"{gone[0]} is gone") if gone else replace(state, word="done")
    )


def _run_stage(
    stage: RecipeStage, stages: Sequence[RecipeStage], state: StageState, run: Callable[[Sequence[str]], None]
) -> None:
    kept = read_record(stage.makes[0])
    if kept is None and stage.fits and stage.makes[0].exists():
        raise ValueError(
            f"Stage {stage.name} makes {stage.makes[0]}, which is there and was made by no recipe. Move it "
            "away, or give another --out."
        )
    if state.word == "changed":
        for made in stage.makes:
            _set_aside(made)
    record = _record(stage, stages, kept)
    write_record(stage.makes[0], record)
    words, last = list(stage.words), stage.makes[0] / _LAST
    if stage.fits and last.is_file():
        words += ["--ckpt_path", str(last)]
    begun = time.monotonic()
    run(words)
    missing = [path for path in stage.makes if not path.exists()]
    if missing:
        raise ValueError(
            f"Stage {stage.name} must make {missing[0]}, and did not. Correct its words or `makes`."
        )
    seconds = time.monotonic() - begun
    if state.word == "stopped":  # the part before is not known
        seconds = max(seconds, record.seconds or 0.0)
    write_record(stage.makes[0], replace(record, done=True, seconds=seconds))


def _record(stage: RecipeStage, stages: Sequence[RecipeStage], kept: StageRecord | None) -> StageRecord:
    """What it would be run with now, not done; its time is that of before."""
    outputs = [made for other in stages for made in other.makes]
    inputs = {}
    for need in stage.needs:
        if need.exists():
            apart = [one for one in outputs if one.absolute() != need.absolute() and _contains(need, one)]
            inputs[str(need)] = digest_path(need, apart)
    seconds = kept.seconds if kept and kept.machine == machine() else None
    return StageRecord(list(stage.words), inputs, code_of(stage.words[0]), False, seconds, machine())


def _contains(folder: Path, path: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())


def _within(need: Path, stage: RecipeStage) -> bool:
    return any(_contains(made, need) or _contains(need, made) for made in stage.makes)


def _set_aside(path: Path) -> None:
    if not path.exists():
        return
    aside = path.with_name(f"{path.name}.before")
    if aside.is_dir():
        shutil.rmtree(aside)
    path.replace(aside)


def _table(stages: Sequence[RecipeStage], states: Sequence[StageState]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "state", "time"):
        table.add_column(heading, overflow="fold")
    for stage, state in zip(stages, states, strict=True):
        table.add_row(stage.name, str(state), "" if state.word == "done" else state.told)
    return table


def _say_total(console: Console, states: Sequence[StageState]) -> None:
    left = [state for state in states if state.word != "done"]
    known = [state.seconds for state in left if state.seconds is not None]
    if left:
        unknown = f", and {len(left) - len(known)} of unknown time" if len(known) < len(left) else ""
        total = f"about {timedelta(seconds=round(sum(known)))}" if known else "of unknown time"
        console.print(f"{len(left)} of {len(states)} stages are left, {total}{unknown if known else ''}.")
    else:
        console.print(f"All {len(states)} stages are done.")
