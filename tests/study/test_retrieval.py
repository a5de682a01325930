"""Retrieval and naming on vectors whose answers are known, and the command on a small ImageBind."""

import csv
import json
from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from worldgen.audio.impact import add_sound
from worldgen.cli import main as cli
from worldgen.data.batching import stack_clips
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.transforms import add_imu
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.imagebind_files import save_imagebind
from worldgen.encoders.imagebind_layers import ImageBindConfig, ImageBindModel, Tower
from worldgen.simulation.clips import simulate_clip
from worldgen.study import retrieval
from worldgen.study.retrieval import measure_recall, name_families
from worldgen.tasks.parts.imagebind import train_bpe_tokenizer

COUNT = 40
DISTINCT = [f"clip {index}" for index in range(COUNT)]
ONE = ["drop"] * COUNT


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def recalls(found):
    return {finding.measure: finding.value for finding in found}


def test_equal_vectors_find_each_other_and_others_do_so_by_chance():
    vectors = {"vision": unit(COUNT, 6), "depth": unit(COUNT, 6), "audio": unit(COUNT, 6, seed=1)}
    assert recalls(measure_recall("vision", "depth", vectors, DISTINCT, ONE)) == {
        "recall@1": 1.0,
        "recall@5": 1.0,
    }
    first, fifth = measure_recall("audio", "depth", vectors, DISTINCT, ONE)
    assert first.kind == "emergent" and first.candidates == first.queries == COUNT
    assert (first.chance, fifth.chance) == (pytest.approx(1 / COUNT), pytest.approx(5 / COUNT))
    assert fifth.low <= fifth.value <= fifth.high and fifth.value < 0.4


def test_one_who_knows_the_family_guesses_among_its_own():
    vectors = {"vision": unit(COUNT, 6), "depth": unit(COUNT, 6)}
    first, fifth = measure_recall("vision", "depth", vectors, DISTINCT, ["drop"] * 10 + ["roll"] * 30)
    assert first.family_chance == pytest.approx((10 / 10 + 30 / 30) / COUNT)
    assert fifth.family_chance == pytest.approx((10 * 5 / 10 + 30 * 5 / 30) / COUNT)
    assert first.chance == pytest.approx(1 / COUNT)


def test_recall_counts_ranks():
    """Each query's own target comes third."""
    targets = torch.eye(8)
    queries = F.normalize(targets + 2 * targets.roll(1, 0) + 3 * targets.roll(2, 0), dim=1)
    found = measure_recall("vision", "imu", {"vision": queries, "imu": targets}, DISTINCT[:8], ONE[:8])
    assert recalls(found) == {"recall@1": 0.0, "recall@5": 1.0}
    assert found[0].kind == "trained"


def test_who_lacks_a_sense_is_neither_asked_nor_offered():
    vectors = {"vision": unit(COUNT, 6), "audio": unit(COUNT, 6)}
    vectors["audio"][10:] = torch.nan
    found = measure_recall("audio", "vision", vectors, DISTINCT, ONE)
    assert found[0].queries == found[0].candidates == 10 and found[0].value == 1.0
    vectors["audio"][1:] = torch.nan
    assert measure_recall("audio", "vision", vectors, DISTINCT, ONE) == []


def test_a_caption_that_several_clips_share_counts_for_each_of_them():
    captions = ["a ball falls"] * 20 + DISTINCT[20:]
    words = unit(COUNT, 6, seed=2)
    words[:20] = words[0]
    seen = words.clone()
    seen[:20] = words[0].roll(0)
    to_text = measure_recall("vision", "text", {"vision": seen, "text": words}, captions, ONE)
    assert to_text[0].candidates == 21 and recalls(to_text)["recall@1"] == 1.0
    from_text = measure_recall("text", "vision", {"vision": seen, "text": words}, captions, ONE)
    assert from_text[0].candidates == COUNT and recalls(from_text)["recall@1"] == 1.0
    by_hand = (20 * 20 / COUNT + 20 * 1 / COUNT) / COUNT
    assert from_text[0].chance == pytest.approx(by_hand)
    draws = list(combinations(range(6), 3))
    share = sum(any(number < 2 for number in draw) for draw in draws) / len(draws)
    assert retrieval._chance(6, 2, 3) == pytest.approx(share)


class Words:
    """An encoder whose prompts lie on the axis of their family."""

    def embed_text(self, prompts):
        names = list(retrieval.FAMILY_PROMPTS)
        place = next(k for k, name in enumerate(names) if prompts == retrieval.FAMILY_PROMPTS[name])
        return torch.eye(12)[[place] * len(prompts)]


def test_families_are_named_by_the_nearest_prompts():
    names = list(retrieval.FAMILY_PROMPTS)
    axes = {name: torch.eye(12)[k] for k, name in enumerate(names)}
    families = ["drop", "drop", "drop", "roll", "cradle", "unheard"]
    values = torch.stack(
        [axes["drop"], axes["drop"], axes["roll"], axes["roll"], axes["cradle"], axes["roll"]]
    )
    (found,) = name_families(Words(), {"imu": values, "text": values}, families)
    assert found.value == pytest.approx(4 / 5) and found.chance == pytest.approx(3 / 5)
    assert (found.queries, found.candidates) == (5, 3)
    values[3:5] = torch.nan
    assert name_families(Words(), {"imu": values}, families) == []


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder of clips and an ImageBind that has learned nothing."""
    home = tmp_path_factory.mktemp("retrieval")
    simulate_shards(home / "clips", ("drop", "tumble"), 6, size=16, processes=1)
    tower = Tower(16, 1, 2)
    sizes = {
        "image_size": 16,
        "patch": 8,
        "sensor_patch": 8,
        "mel_bins": 16,
        "mel_frames": 62,
        "imu_length": 128,
    }
    config = ImageBindConfig(tower, tower, tower, tower, None, tower, 8, **sizes, vocabulary=540, context=77)
    captions = [line for lines in retrieval.FAMILY_PROMPTS.values() for line in lines]
    torch.manual_seed(0)
    save_imagebind(ImageBindModel(config), home / "model", train_bpe_tokenizer(captions, 540))
    return home


def test_the_shipped_weights_name_families_by_senses_that_words_were_never_compared_with():
    folder = Path(__file__).resolve().parents[2] / "assets" / "nano" / "imagebind"
    families = ["drop", "pendulum", "tumble", "cradle", "roll", "dominoes"]
    clips = [add_imu(add_sound(simulate_clip(family, 77))) for family in families]
    encoder, batch = ImageBind(folder), stack_clips(clips)
    vectors = {"imu": encoder.embed_imu(batch), "vision": encoder.embed_vision(batch)}
    for found in name_families(encoder, vectors, families):
        assert found.value >= 4 / 6, found
    sounding = stack_clips([clips[0], clips[3], clips[5]])
    (heard,) = name_families(
        encoder, {"audio": encoder.embed_audio(sounding)}, ["drop", "cradle", "dominoes"]
    )
    assert heard.value >= 2 / 3
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8_000_000


def test_the_command_writes_a_table_for_every_pair(small, tmp_path, capsys):
    words = ["retrieve", str(small / "model"), "--data", str(small / "clips"), "--out", str(tmp_path / "out")]
    cli.main(words)
    rows = list(csv.DictReader((tmp_path / "out" / "retrieval.csv").open()))
    pairs = {(row["query"], row["target"]) for row in rows}
    assert {("audio", "text"), ("text", "audio"), ("imu", "text"), ("vision", "depth")} <= pairs
    assert sum(row["kind"] == "zero-shot" for row in rows) == 3  # in sound there is one family only
    heard = next(row for row in rows if row["query"] == "audio")
    assert heard["queries"] == "3"  # what tumbles is silent
    kept = json.loads((tmp_path / "out" / "retrieval.json").read_text())
    assert len(kept["findings"]) == len(rows) and kept["command"].startswith("worldgen retrieve")
    assert (tmp_path / "out" / "retrieval.png").stat().st_size > 1000
    assert "recall@5" in capsys.readouterr().out


def test_bad_words_get_one_sentence(small, tmp_path, capsys):
    def fails(*words):
        with pytest.raises(SystemExit) as stop:
            cli.main(["retrieve", *map(str, words)])
        assert stop.value.code == 2
        return capsys.readouterr().err

    assert "config.json" in fails(tmp_path / "none", "--data", small / "clips")
    assert "nowhere" in fails(small / "model", "--data", tmp_path / "nowhere")
    assert "needs two modalities and two clips" in fails(
        small / "model", "--data", small / "clips", "--clips", 1
    )
