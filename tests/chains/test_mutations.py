"""Damaged input of every kind: a result or one sentence, no other file, no hang, bounded memory."""

import random
import resource
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chains.mutations import KINDS, seal_shard
from worldgen.cli import main as cli

SECONDS = 60
MEGABYTES = 2048
"""What reading one small damaged file may take."""
FAST, ALL = 4, 40
"""Of each kind."""


@pytest.mark.parametrize("kind", KINDS)
def test_damage_gives_a_result_or_a_sentence(kind: str, tmp_path: Path) -> None:
    _attack(kind, range(FAST), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_more_damage_gives_a_result_or_a_sentence(kind: str, tmp_path: Path) -> None:
    _attack(kind, range(FAST, ALL), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_can_be_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    if kind != "checkpoint":  # of other frozen parts
        KINDS[kind].write(_folder(tmp_path / "in"))
        KINDS[kind].read(tmp_path / "in", tmp_path / "out")


def _attack(kind: str, seeds: range, place: Path) -> None:
    chances = [random.Random(f"{kind} {seed}") for seed in seeds]
    found = [_one(kind, chance, place / str(seed)) for seed, chance in zip(seeds, chances, strict=True)]
    bad = [f"{kind} {seed}: {what}" for seed, what in zip(seeds, found, strict=True) if what]
    assert not bad, "\n".join(bad)


def _one(kind: str, chance: random.Random, place: Path) -> str | None:
    """What is wrong with the answer to one damaged input."""
    own, out = _folder(place / "a" / "b" / "in"), _folder(place / "a" / "b" / "out")
    path = KINDS[kind].write(own)
    if KINDS[kind].damage:
        path.write_bytes(chance.choice(KINDS[kind].damage)(path.read_bytes(), chance))
    else:
        seal_shard(path, chance)
    begun, wrong = time.monotonic(), None
    try:
        with _bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            KINDS[kind].read(own, out)
    except Exception as error:
        wrong = _fault_of(error)
    if time.monotonic() - begun > SECONDS:
        wrong = f"took {time.monotonic() - begun:.0f} s"
    strange = [item for item in place.rglob("*") if own not in item.parents and out not in item.parents]
    strange = sorted(set(strange) - {place / "a", place / "a" / "b", own, out})
    partial = [item for item in place.rglob("*.partial")]
    if strange or partial or Path("/escaped").exists():
        wrong = f"wrote {strange + partial}"
    return wrong


def _fault_of(error: Exception) -> str | None:
    """What is wrong with an error, as the command line shows it."""
    if not cli._is_users(error):
        return f"{type(error).__name__}: {error}"
    sentence = cli._one_line(error)
    if len(sentence) > 1100 or "\n" in sentence or sentence == type(error).__name__:
        return f"no sentence: {sentence[:200]}"
    return None


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


@contextmanager
def _bounded() -> Iterator[None]:
    """More memory is a MemoryError, more time a TimeoutError of its own."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEGABYTES * 2**20
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _too_long(number: int, frame: object) -> None:
    raise AssertionError(f"more than {SECONDS} s")
