"""Recipes as files: ordered stages, each a worldgen command with what it makes.

A recipe is yaml::

    stages:
      - name: simulate
        minutes: 2
        run: simulate --clips 2048 --seed 10 --out {out}/data/train
        makes: "{out}/data/train"

``makes`` is a path or several; ``needs`` names inputs beyond those that stand in the words; ``{out}`` is the
only variable. Of a fit the recipe itself says where the run folder lies: it is what the stage makes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldgen.runs.recipes.stage_inputs import FITS, find_inputs
from worldgen.texts import read_yaml

_KEYS = ("name", "minutes", "run", "makes", "needs")


@dataclass(frozen=True)
class RecipeStage:
    """One command of a recipe."""

    name: str
    words: tuple[str, ...]
    """Of the command, as people type them behind ``worldgen``."""
    makes: tuple[Path, ...]
    needs: tuple[Path, ...]
    """All inputs: files, and what stages before it make."""
    minutes: float | None
    """What the recipe says that it takes; None where it does not."""

    @property
    def fits(self) -> bool:
        """Whether it trains, and goes on from a checkpoint."""
        return self.words[0] in FITS


def read_recipe(path: Path, out: Path, check: Callable[[Sequence[str]], None]) -> list[RecipeStage]:
    """The stages of a recipe, held against each other and the disk: nothing is run.

    Args:
        path: Of the recipe.
        out: What ``{out}`` stands for.
        check: Refuses words that are no command.

    Raises:
        FileNotFoundError: There is no such recipe.
        ValueError: What cannot be run, in one sentence.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no recipe {path}; those of the project are in configs/recipes/.")
    try:
        recipe = read_yaml(path.read_text(), str(path))
    except UnicodeDecodeError:
        raise ValueError(f"{path} must be yaml; it is no text.") from None
    given = recipe.get("stages") if isinstance(recipe, dict) else None
    if not isinstance(given, list) or not given or set(recipe) != {"stages"}:
        raise ValueError(f"{path} must be a list of `stages`, and nothing else; see docs/commands/recipe.md.")
    drafts = [_read_stage(value, number, path, out) for number, value in enumerate(given, 1)]
    _refuse_twice(drafts, path)
    stages: list[RecipeStage] = []
    for number, draft in enumerate(drafts):
        try:
            check(draft.words)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}: stage {draft.name}: {error}") from None
        stages.append(_with_inputs(draft, stages, drafts[number + 1 :], out, path))
    return stages


def _read_stage(value: Any, number: int, path: Path, out: Path) -> RecipeStage:
    where = f"{path}: stage {number}"
    if not isinstance(value, dict):
        raise ValueError(f"{where} must have name, run and makes; got {value!r}.")
    unknown = [str(key) for key in value if key not in _KEYS]
    missing = [key for key in ("name", "run", "makes") if not value.get(key)]
    if unknown or missing:
        told = f"has no {missing[0]}" if missing else f"has {unknown[0]}"
        raise ValueError(f"{where} {told}; a stage has {', '.join(_KEYS)}.")
    minutes = value.get("minutes")
    if minutes is not None and not (isinstance(minutes, (int, float)) and 0 < minutes < 1e6):
        raise ValueError(f"{where}: minutes must be a number above 0; got {minutes!r}.")
    texts = {key: value.get(key) or [] for key in ("makes", "needs")}
    lists = {key: [text] if isinstance(text, str) else text for key, text in texts.items()}
    for text in (value["run"], *lists["makes"], *lists["needs"]):
        if not isinstance(text, str):
            raise ValueError(f"{where}: run, makes and needs are text; got {text!r}.")
        other = re.search(r"\{(?!out\})[A-Za-z_]\w*\}", text)
        if other:
            raise ValueError(f"{where} has {other[0]}; {{out}} is the only variable.")
    try:
        words = shlex.split(value["run"])
    except ValueError as error:
        raise ValueError(f"{where}: run must be a command line; it cannot be parted ({error}).") from None
    words = [word.replace("{out}", str(out)) for word in words]
    words = words[1:] if words[:1] == ["worldgen"] else words
    if not words:
        raise ValueError(f"{where}: run must be a worldgen command; it is empty.")
    makes, needs = (tuple(Path(t.replace("{out}", str(out))) for t in lists[k]) for k in ("makes", "needs"))
    if words[0] in FITS and not any("trainer.logger" in word for word in words):
        words += _run_folder(makes[0])
    return RecipeStage(str(value["name"]), tuple(words), makes, needs, minutes)


def _run_folder(folder: Path) -> list[str]:
    """The words that make a fit write into this folder."""
    logger = "--trainer.logger.init_args."
    above = folder.parent
    return [
        f"{logger}save_dir={above.parent}",
        f"{logger}name={above.name}",
        f"{logger}version={folder.name}",
    ]


def _refuse_twice(stages: Sequence[RecipeStage], path: Path) -> None:
    names: set[str] = set()
    makers: dict[Path, str] = {}
    for stage in stages:
        if stage.name in names:
            raise ValueError(f"{path}: each stage has a name of its own; {stage.name} came twice.")
        names.add(stage.name)
        for made in stage.makes:
            place = made.absolute()
            if place in makers:
                raise ValueError(
                    f"{path}: {made} is made by two stages, {makers[place]} and {stage.name}. Let each make "
                    "its own."
                )
            makers[place] = stage.name


def _with_inputs(
    draft: RecipeStage, before: Sequence[RecipeStage], after: Sequence[RecipeStage], out: Path, path: Path
) -> RecipeStage:
    made = [place for stage in before for place in stage.makes]
    inputs, wanted = find_inputs(draft.words, made, draft.makes, out)
    for place in (*draft.needs, *wanted):
        if not place.exists() and not any(_touch(place, other) for other in made):
            later = [stage.name for stage in after if any(_touch(place, other) for other in stage.makes)]
            told = (
                f"stage {later[0]} makes it later; put that first" if later else "no stage before it makes it"
            )
            raise ValueError(f"{path}: stage {draft.name} needs {place}, which is not there, and {told}.")
    needs = tuple(dict.fromkeys([*draft.needs, *inputs]))
    return RecipeStage(draft.name, draft.words, draft.makes, needs, draft.minutes)


def _touch(one: Path, other: Path) -> bool:
    """Whether one path is the other, or lies in it."""
    one, other = one.absolute(), other.absolute()
    return one == other or one.is_relative_to(other) or other.is_relative_to(one)
