"""What a study declares before anything runs: its arms, seeds, budget, test clips and measures."""

from __future__ import annotations

import difflib
import glob
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldgen.files import decode_text
from worldgen.texts import read_yaml

BASE = "base"
"""The arm that every other is compared with: the base configs, as they are."""
OF_THE_CELL = (
    "seed_everything", "model.seed", "data.seed", "model.start", "model.cache", "ckpt_path",
    "trainer.max_steps", "trainer.max_time", "trainer.max_epochs", "trainer.logger",
)  # fmt: skip
"""Keys that a study sets by itself."""
_KEYS = ("configs", "options", "arms", "seeds", "budget", "evaluation", "primary", "measures", "share_cache")
_BUDGETS = ("steps", "seconds", "clips")
_UNNAMED = ("class_path", "init_args")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Arm:
    """One configuration: the base, and what is laid over it."""

    name: str
    configs: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Keys and values as of a command line."""


@dataclass(frozen=True)
class Budget:
    """What every cell may spend on training; one of the three.

    Args:
        steps: Optimizer steps.
        seconds: Of training on one core, as a short run before the study measures steps.
        clips: Clips that are taken, one as often as it is taken.
    """

    steps: int | None = None
    seconds: float | None = None
    clips: int | None = None

    def __str__(self) -> str:
        return next(f"{value:g} {name}" for name in _BUDGETS if (value := getattr(self, name)) is not None)


@dataclass(frozen=True)
class EvaluationSet:
    """Clips that every cell is evaluated on."""

    data: str
    clips: int | None = None
    """The first so many; all when None."""
    context_frames: int = 2


@dataclass(frozen=True)
class Experiment:
    """A declared study."""

    configs: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    arms: tuple[Arm, ...]
    """The base first."""
    seeds: tuple[int, ...]
    budget: Budget
    evaluation: EvaluationSet
    primary: str
    """The measure that decides."""
    measures: tuple[str, ...]
    """All that are tested, the primary one first."""
    share_cache: bool = True
    """Whether arms share what frozen parts make of the clips."""

    def layers(self, arm: Arm) -> list[str]:
        """Words of ``worldgen fit`` that make the arm: the base and its options, then the arm's."""
        return [
            *(f"--config={config}" for config in self.configs),
            *(f"--{key}={value}" for key, value in self.options),
            *(f"--config={config}" for config in arm.configs),
            *(f"--{key}={value}" for key, value in arm.options),
        ]

    def settings(self, arm: Arm) -> dict[str, Any]:
        """Every key that the layers set, and its last value; what a class of before had goes with it."""
        found: dict[str, Any] = {}
        for config in (*self.configs, None, *arm.configs):
            given = dict(self.options) if config is None else flatten(_read(config))
            _lay_over(found, given)
        _lay_over(found, dict(arm.options))
        return found


def read_experiment(path: Path) -> Experiment:
    """A study as its yaml file declares it.

    Raises:
        FileNotFoundError: The file, or one that it names, is not there.
        ValueError: It declares what cannot be meant, and what must hold.
    """
    content = _read(str(path))
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), _KEYS, 1)
        told = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(_KEYS)}."
        raise ValueError(f"{path} has a key {unknown[0]} that no study has. {told}")
    missing = [
        key for key in ("configs", "arms", "seeds", "budget", "evaluation", "primary") if key not in content
    ]
    if missing:
        raise ValueError(f"{path} must say {', '.join(missing)}; a study declares it before it runs.")
    configs = _files(content["configs"], f"{path}: configs")
    options = _options(content.get("options") or {}, f"{path}: options")
    measures = _strings(content.get("measures") or [], f"{path}: measures")
    if not isinstance(content["primary"], str):
        raise ValueError(f"{path}: primary must be the name of one measure; got {content['primary']!r}.")
    share = content.get("share_cache", True)
    if not isinstance(share, bool):
        raise ValueError(f"{path}: share_cache must be true or false; got {share!r}.")
    experiment = Experiment(
        configs,
        options,
        (Arm(BASE), *_arms(content["arms"], path)),
        _seeds(content["seeds"], path),
        _budget(content["budget"], path),
        _evaluation(content["evaluation"], path),
        content["primary"],
        tuple(dict.fromkeys((content["primary"], *measures))),
        share,
    )
    _require_arms(experiment, path)
    return experiment


def flatten(value: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    """Nested keys as ``model.denoiser.dim``: class_path and init_args are no names of their own."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        parts = [part for part in str(key).split(".") if part not in _UNNAMED]
        name = ".".join([above, *parts] if above else parts)
        if isinstance(item, Mapping) and item:
            found |= flatten(item, name)
        elif name:
            found[name] = item
    return found


def _lay_over(found: dict[str, Any], given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        plain = ".".join(part for part in key.split(".") if part not in _UNNAMED)
        for below in [name for name in found if name.startswith(f"{plain}.")]:
            if value is None or isinstance(value, str):  # off, or another class
                del found[below]
        found[plain] = value


def _read(path: str) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {path}. Paths are seen from where the command is given.")
    content = read_yaml(decode_text(file.read_bytes(), path), path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must have keys with values; it has none.")
    return content


def _files(value: Any, where: str) -> tuple[str, ...]:
    """Files that a word or a list of them names; patterns with ``*`` stand for all that they match."""
    found: list[str] = []
    for name in _strings([value] if isinstance(value, str) else value, where):
        matches = sorted(glob.glob(name)) if glob.has_magic(name) else [name]
        if not matches or not all(Path(match).is_file() for match in matches):
            raise FileNotFoundError(f"{where}: no file matches {name}, seen from where the command is given.")
        found += matches
    return tuple(found)


def _strings(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where} must be a list of words; got {value!r}.")
    return value


def _options(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be keys with values, as data.clips: 64; got {value!r}.")
    for key in value:
        own = next(
            (name for name in OF_THE_CELL if str(key) == name or str(key).startswith(f"{name}.")), None
        )
        if own:
            raise ValueError(f"{where} may not set {own}: the study does, from its seeds and its budget.")
    return tuple((str(key), _word(item)) for key, item in value.items())


def _word(value: Any) -> str:
    """A value as a command line has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        import json

        return json.dumps(value)
    return str(value)


def _arms(value: Any, path: Path) -> Iterator[Arm]:
    """Of a list of files, one arm each, by their names; or of a mapping, name by name."""
    if isinstance(value, (list, str)):
        for file in _files(value, f"{path}: arms"):
            yield Arm(Path(file).stem, (file,))
        return
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{path}: arms must be files, or names with files and options; got {value!r}.")
    for name, given in value.items():
        where = f"{path}: arm {name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == BASE:
            raise ValueError(
                f"{where} must be named by letters, digits and _ . + -, and not {BASE}: it is a folder."
            )
        if isinstance(given, (str, list)):
            yield Arm(name, _files(given, where))
        elif isinstance(given, dict) and given and given.keys() <= {"configs", "options"}:
            files = _files(given.get("configs") or [], where)
            yield Arm(name, files, _options(given.get("options") or {}, where))
        else:
            raise ValueError(f"{where} must be files, or configs: and options:; got {given!r}.")


def _seeds(value: Any, path: Path) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or not value
        or not all(type(seed) is int and 0 <= seed < 2**31 for seed in value)
    ):
        raise ValueError(f"{path}: seeds must be a list of whole numbers from 0; got {value!r}.")
    twice = [seed for seed in value if value.count(seed) > 1]
    if twice:
        raise ValueError(f"{path}: seed {twice[0]} stands twice: it would be one run counted as two.")
    return tuple(value)


def _budget(value: Any, path: Path) -> Budget:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= set(_BUDGETS):
        raise ValueError(
            f"{path}: budget must be one of steps, seconds and clips with a number; got {value!r}."
        )
    ((name, amount),) = value.items()
    kinds = (int, float) if name == "seconds" else (int,)
    if type(amount) not in kinds or not 0 < amount < math.inf:
        raise ValueError(f"{path}: budget must be a number of {name} above 0; got {amount!r}.")
    return Budget(**{name: amount})


def _evaluation(value: Any, path: Path) -> EvaluationSet:
    if (
        not isinstance(value, dict)
        or "data" not in value
        or not value.keys() <= {"data", "clips", "context_frames"}
    ):
        raise ValueError(
            f"{path}: evaluation takes data (a folder), clips and context_frames; got {value!r}."
        )
    for name, least in (("clips", 2), ("context_frames", 0)):
        if name in value and (type(value[name]) is not int or value[name] < least):
            raise ValueError(
                f"{path}: evaluation.{name} must be a whole number from {least}; got {value[name]!r}."
            )
    return EvaluationSet(**value)


def _require_arms(experiment: Experiment, path: Path) -> None:
    """Raise ValueError for arms of one name, equal ones, and for parts of an arm that set one key twice."""
    names = [arm.name for arm in experiment.arms]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: two arms are called {twice[0]}; name them otherwise.")
    known: dict[str, str] = {}
    for arm in experiment.arms:
        parts = [(config, flatten(_read(config))) for config in arm.configs] + [
            ("its options", dict(arm.options))
        ]
        _require_apart(parts, f"{path}: arm {arm.name}")
        settings = repr(
            sorted((key, _word(value)) for key, value in _deciding(experiment.settings(arm)).items())
        )
        if settings in known:
            raise ValueError(
                f"{path}: arm {arm.name} is {known[settings]} by another name; take one of them out."
            )
        known[settings] = arm.name


def _require_apart(parts: Sequence[tuple[str, Mapping[str, Any]]], where: str) -> None:
    for number, (name, given) in enumerate(parts):
        for other, before in parts[:number]:
            for key in _deciding(given):
                plain = ".".join(part for part in key.split(".") if part not in _UNNAMED)
                for there in _deciding(before):
                    if there == plain or there.startswith(f"{plain}.") or plain.startswith(f"{there}."):
                        raise ValueError(
                            f"{where}: {other} and {name} both set {min(there, plain, key=len)}; only what "
                            "the last one says would hold."
                        )


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a study sets by itself, or what is only a name."""
    return {
        key: value
        for key, value in settings.items()
        if not any(
            key == own or key.startswith(f"{own}.") for own in (*OF_THE_CELL, "trainer.val_check_interval")
        )
    }
