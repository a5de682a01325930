import pytest

from worldgen.generation.words.facts import facts_of, lost_facts


@pytest.mark.parametrize(
    "prompt, text, lost",
    [
        ("a red ball falls", "The red rubber ball is falling.", ("fall",)),
        ("a red ball falls", "At first, the red rubber ball falls.", ()),
        ("a red ball and a blue box", "a blue ball and a red box", ("red>ball", "blue>box")),
        ("three balls collide", "3 balls: they collide", ()),
        ("a red ball", "a ball", ("red", "red>ball")),
        ("a stack of four boxes", "a box on a stack of five", ("4",)),
        ("it is the one on the left", "left", ("1",)),
        ("a red, wooden and shiny ball", "a ball that is red, wooden and shiny", ()),
    ],
)  # fmt: skip
def test_what_is_lost_is_known_also_what_belongs_to_what(prompt, text, lost):
    assert lost_facts(prompt, text) == lost


def test_words_are_counted_and_empty_ones_are_not():
    assert facts_of("A ball hits a ball; the balls stop.")["ball"] == 3
    assert not facts_of("it is of the, and then.")
