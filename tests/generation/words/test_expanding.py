import ast
import csv
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldgen.generation.words.expanding import RuleWriter, compare
from worldgen.generation.words.facts import lost_facts
from worldgen.simulation.scenes import captions, descriptions
from worldgen.simulation.scenes.families import FAMILIES, draw_scene

PROMPTS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "prompts"
OURS = [captions.describe(draw_scene(family, seed)) for family in FAMILIES for seed in range(3)]


def test_a_short_prompt_becomes_a_caption_and_what_is_added_is_told():
    told = RuleWriter(0).write("a red ball falls")
    assert re.fullmatch(
        r"The clip shows a red (wooden|rubber) ball in the middle of the picture\. At first, the red ball "
        r"falls\. At about 0\.4 seconds, the red ball hits the floor and bounces to about (a quarter|three "
        r"quarters) of its former height\. A fixed camera .* in the background\.",
        told.text,
    )
    assert all(part in told.text for part in told.added) and len(told.added) == 3
    assert RuleWriter(0).write("a red ball falls") == told != RuleWriter(1).write("a red ball falls")


@pytest.mark.parametrize("prompt", OURS)
def test_our_own_prompts_stay_whole_and_get_more(prompt):
    told = RuleWriter(3).write(prompt)
    assert not lost_facts(prompt, told.text) and told.added and len(told.text) > len(prompt) + 30


WORDS = [
    "a",
    "an",
    "the",
    "red",
    "blue",
    "ball",
    "box",
    "and",
    "falls",
    "rolls",
    "left",
    ".",
    ",",
    "Two",
    "on",
]
ANY = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join) | st.text(
    "ab é.,!?-'7\n", min_size=1
)


@settings(max_examples=60, deadline=None)
@given(ANY.filter(lambda text: re.search(r"[^\W_]", text)), st.integers(0, 5))
def test_nothing_of_any_prompt_is_lost(prompt, seed):
    assert not lost_facts(prompt, RuleWriter(seed).write(prompt).text)


def without_articles(text):
    return re.sub(r"\b(a|an|the) ", "", " ".join(text.lower().split())).rstrip(".")


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the prompts of other benchmarks are not there")
def test_prompts_of_other_benchmarks_stay_word_for_word():
    rows = csv.DictReader((PROMPTS / "physics_iq_descriptions.csv").read_text().splitlines())
    prompts = (PROMPTS / "phycobench_prompts.txt").read_text().splitlines()
    for prompt in {*prompts, *(row["description"] for row in rows)} - {""}:
        told = RuleWriter(0).write(prompt)
        assert not lost_facts(prompt, told.text)
        assert without_articles(prompt) in without_articles(told.text)


def test_what_is_added_is_said_in_the_words_of_captions():
    words = set()
    for module in (captions, descriptions):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= set(re.findall(r"[a-z]+", node.value.lower()))
    words |= {"white", "gray", "light", "wall", "floor", "rubber", "wooden"}  # of naming, and materials
    prompts = ["a red ball falls", "a red ball swings from the left", "a blue ball passes behind a screen"]
    prompts += ["a red ball on the left and a blue ball on the right collide", "an owl sleeps"]
    for prompt in prompts:
        for seed in range(4):
            told = RuleWriter(seed).write(prompt)
            added = re.findall(r"[a-z]+", " ".join(told.added).lower())
            assert set(added) - set(re.findall("[a-z]+", prompt)) <= words


@pytest.mark.parametrize("prompt", ["a red ball falls, static shot", "an owl, filmed from above"])
def test_what_a_prompt_says_is_not_said_otherwise(prompt):
    assert "camera" not in RuleWriter(0).write(prompt).text


def test_what_does_not_fit_is_left_out_from_the_end():
    told = RuleWriter(0, lambda text: len(text.split()) < 20).write("a red ball falls")
    assert len(told.added) == 1 and "camera" not in told.text and "falls" in told.text
    assert RuleWriter(0, lambda text: False).write("a red ball falls").text == "a red ball falls"


def test_what_another_writer_loses_stands_in_front():
    told = compare("a red ball falls", "The clip shows a blue ball. It falls.")
    assert told.text == "A red ball falls. The clip shows a blue ball. It falls."
    assert told.lost == ("red", "red>ball") and told.added == ("The clip shows a blue ball.",)
    assert compare("a ball", "A ball rests.").lost == ()


@pytest.mark.parametrize("prompt, sentence", [(" \n", "must have words"), ("ball " * 500, "at most 2000")])
def test_what_is_no_short_prompt_is_refused(prompt, sentence):
    with pytest.raises(ValueError, match=sentence):
        RuleWriter().write(prompt)
