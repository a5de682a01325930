import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest

from worldgen.cli import evaluate, expand, generate, main, make, sound, study, tune
from worldgen.cli.words.options import LIMITS, argument_texts, did_you_mean, either, read_options, read_words


@dataclass(frozen=True)
class Lens:
    """How something is seen.

    Args:
        scale: Meters per pixel.
        rate: Frames per second.
    """

    scale: str | None = None
    rate: float | None = None


def look(
    folder: Path,
    names: list[str] = ["a"],  # noqa: B006 never written to
    weights: list[float] = [],  # noqa: B006 never written to
    count: int = 3,
    lens: Lens = Lens(),
    wide_open: bool = False,
    limit: int | None = None,
) -> None:
    """Look.

    Args:
        folder: Where,
            of all places.
        names: Whose.
    """


def read(*words, bare=None):
    return read_words(look, "look", words, bare)


def test_words_become_arguments_of_their_kinds():
    assert read("--folder", "a b", "--count=4", "--wide-open", "--limit", "null") == {
        "folder": Path("a b"),
        "count": 4,
        "wide_open": True,
        "limit": None,
    }
    assert read("here", "--wide-open", "false", bare="folder") == {"folder": Path("here"), "wide_open": False}
    assert read("--folder", "x", "--limit", "-3")["limit"] == -3


def test_underscores_are_understood_too():
    assert read("--folder", "x", "--wide_open") == read("--folder", "x", "--wide-open")


@pytest.mark.parametrize(
    "words", [["b", "c"], ["[b,c]"], ["[b, 'c']"], ["[b,", "c]"], ["[b c]"], ["[b", "c]"]]
)
def test_many_values_are_words_or_a_list(words):
    assert read("--folder", "x", "--names", *words)["names"] == ["b", "c"]
    assert read("--folder", "x", "--weights", ".5", "2")["weights"] == [0.5, 2.0]


def test_fields_of_a_dataclass_are_options_of_their_own():
    assert read("--folder", "x", "--scale", "g")["lens"] == Lens("g")
    assert read("--folder", "x", "--rate", "25", "--scale", "1")["lens"] == Lens("1", 25.0)
    texts = {option.name: option.text for option in read_options(look)}
    assert texts["--rate"] == "Frames per second." and texts["--folder"] == "Where, of all places."


@pytest.mark.parametrize(
    "words, told",
    [
        ([], r"worldgen look needs --folder; give it\."),
        (["--folder"], "--folder takes a value behind it; it has none"),
        (["--folder", "x", "--count", "1.5"], "--count takes a whole number; got '1.5'"),
        (["--folder", "x", "--weights", "big"], "--weights takes a number; got 'big'"),
        (["--folder", "x", "--wide-open", "maybe"], "--wide-open takes true or false; got 'maybe'"),
        (["--folder", "x", "y"], "takes every value behind its option; got 'y'"),
        (["--folde", "x"], r"has no option --folde\. Did you mean --folder\?"),
        (["--fold", "x"], "has no option --fold"),
        (["--zzz", "x"], "has no option --zzz; it has --folder, --names,"),
    ],
)
def test_what_is_not_understood_is_refused(words, told):
    with pytest.raises(ValueError, match=told):
        read(*words)


def test_only_the_first_word_may_stand_without_its_option():
    with pytest.raises(ValueError, match="only FOLDER stands without one, in front; got 'y'"):
        read("x", "--count", "3", "y", bare="folder")


@pytest.mark.parametrize("module", [expand, generate, make, study, tune])
def test_every_option_of_every_command_is_explained(module):
    commands = [value for value in vars(module).values() if inspect.isfunction(value)]
    assert commands
    for command in commands:
        assert all(option.text for option in read_options(command)), command


def test_texts_end_where_the_section_does():
    assert argument_texts("A.\n\nArgs:\n    a: One\n        more.\n    b: Two.\n\nExample:\n    c: no\n") == {
        "a": "One more.",
        "b": "Two.",
    }


def test_what_is_alike_is_named_and_else_everything():
    assert did_you_mean("fti", ["fit", "test"]) == ". Did you mean fit?"
    assert did_you_mean("zzz", ["fit", "test"]) == "; it has fit, test."
    assert either(["a"]) == "a" and either(["a", "b", "c"]) == "a, b or c"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--clips", "0"], "--clips must be from 1 to 1,000,000,000; got 0"),
        (["--clips=-1"], "--clips must be from 1 to 1,000,000,000; got -1"),
        (["--seed", "-1"], "--seed must be from 0 to 4,294,967,295; got -1"),
        (["--fps", "1e-6"], "--fps must be from 0.001 to 1,000,000; got 1e-06"),
        (["--fps", "nan"], "--fps must be from 0.001 to 1,000,000; got nan"),
        (["--fps", "inf"], "--fps must be from 0.001 to 1,000,000; got inf"),
        (["--processes", "0"], "--processes must be from 1 to 1,024; got 0"),
    ],
)
def test_numbers_have_limits(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=rf"^{said}\.$"):
        read_words(make.simulate, "simulate", ["--out", "x", *words])


def test_every_number_of_a_command_has_a_limit() -> None:
    """A new option is thought about once; scores and the like are unbounded on purpose."""
    commands = [
        function
        for room in (evaluate, expand, generate, make, sound, study, tune)
        for function in vars(room).values()
        if inspect.isfunction(function)
        and function.__module__ == room.__name__
        and not function.__name__.startswith("_")
    ]
    numbers = {
        option.place[-1]
        for function in commands
        for option in read_options(function)
        if option.kind in (int, float)
    }
    assert len(commands) > 10 and numbers == LIMITS.keys()


def test_each_place_that_is_written_says_whether_it_is_a_folder():
    """By the first word of its text it is told what may not be in its way."""
    commands = [
        one
        for room in (evaluate, generate, make, study, main)
        for one in vars(room).values()
        if inspect.isfunction(one)
    ]
    places = {}
    for command in commands:
        if command.__module__.startswith("worldgen.cli") and "out" in command.__annotations__:
            (option,) = [one for one in read_options(command) if one.name == "--out"]
            places[command.__name__] = option.text
    assert len(places) > 12 and {"recipe", "ablate", "generate", "simulate"} <= places.keys()
    for name, text in places.items():
        assert text.startswith(("Folder ", "Video to write", "Picture ")), name
