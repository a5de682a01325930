from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from worldgen.cli import main as cli
from worldgen.data.shards.inspection import contact_sheet, print_summary, summarize_shards
from worldgen.data.shards.shards import ShardWriter
from worldgen.types import Clip


@pytest.fixture
def folder(tmp_path: Path, make_clip: Callable[..., Clip]) -> Path:
    """Five clips of two sizes, two rates and two families; one has no caption."""
    with ShardWriter(tmp_path / "3x8x8", 0) as writer:
        for number in range(4):
            clip = make_clip(number)
            if number == 3:
                clip = replace(clip, prompts=("",))
            writer.add(clip, f"clip-{number}", "drop" if number else "bounce")
    pixels = torch.linspace(0, 1, 6 * 3 * 16 * 8).reshape(1, 6, 3, 16, 8)
    with ShardWriter(tmp_path / "6x16x8", 0) as writer:
        writer.add(Clip(pixels, torch.tensor([12.0]), ("grows brighter",)), "ramp", "drop")
    (tmp_path / "dropped.csv").write_text(
        "file,start,reason\na,,too short: 3\nb,1.0,damaged: x\nc,,damaged: y\n"
    )
    return tmp_path


def test_counts(folder: Path) -> None:
    got = summarize_shards(folder)
    assert (got.clips, got.shards, got.captioned, got.read) == (5, 2, 4, 5)
    assert got.buckets == (((3, 8, 8), 4), ((6, 16, 8), 1))
    assert got.families == (("bounce", 1), ("drop", 4))
    assert dict(got.members)["depth"] == 4 and dict(got.members)["video"] == 5
    assert got.fps == (12.0, 25.0, 25.0)
    assert got.clip_seconds == pytest.approx((0.12, 0.12, 0.5))
    assert got.seconds == pytest.approx(4 * 0.12 + 0.5)
    assert got.dropped == (("damaged", 2), ("too short", 1))
    assert got.megabytes == pytest.approx(sum(path.stat().st_size for path in folder.glob("*x*/*")) / 1e6)


def test_tables(folder: Path) -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_summary(summarize_shards(folder), console)
    text = console.export_text()
    for words in (
        "5 in 2 shards",
        "4 (80%)",
        "12 to 25, median 25",
        "3 x 8 x 8",
        "6 x 16 x 8",
        "bounce",
        "damaged",
    ):
        assert words in text, words
    assert "depth (80%)" in text and "video," in text


def test_the_contact_sheet_shows_clips_first_to_last(folder: Path) -> None:
    sheet = contact_sheet(folder, clips=2, moments=3)
    assert sheet.size == (220 + 3 * 99, 2 * 99)
    brightness = [
        sheet.crop((left, 99, left + 48, 195)).convert("L").resize((1, 1)).getpixel((0, 0))
        for left in (220, 271, 322)
    ]
    assert brightness[0] < 40 < brightness[1] < 140 < 200 < brightness[2], "the ramp is the last clip"
    assert sheet.crop((0, 99, 220, 195)).convert("L").getextrema()[0] < 60, "its label"


def test_the_command_writes_the_sheet(folder: Path, capsys: pytest.CaptureFixture) -> None:
    cli.main(["data", "show", str(folder), "--out", str(folder / "sheet.png")])
    assert "5 in 2 shards" in capsys.readouterr().out
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.height == 5 * 99


def test_a_damaged_state_is_named(folder: Path) -> None:
    path = folder / "6x16x8/shard-000000.tar"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"fps"', b'"fqs"'))
    with pytest.raises(
        ValueError, match=r"Clip 'ramp' of .*shard-000000\.tar is damaged in state\.safetensors"
    ):
        summarize_shards(folder)
