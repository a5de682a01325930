import pytest

from worldgen.generation.words.shots import Shot, carry, find_subject, read_story


def write(tmp_path, text):
    (tmp_path / "story.txt").write_text(text)
    return tmp_path / "story.txt"


def test_each_line_is_a_shot_with_the_subject_in_it(tmp_path):
    path = write(tmp_path, "A red steel ball drops\n\n0.4 s: it bounces\nthe ball rolls\nrolls to the left\n")
    assert read_story(path) == (
        Shot("A red steel ball drops", "A red steel ball drops"),
        Shot("it bounces", "a red steel ball bounces", 0.4),
        Shot("the ball rolls", "a red steel ball rolls"),
        Shot("rolls to the left", "a red steel ball rolls to the left"),
    )


@pytest.mark.parametrize(
    "theme, prompts",
    [
        ("a red ball drops, then it bounces and then rolls",
         ["a red ball drops", "a red ball bounces", "a red ball rolls"]),
        ("A blue box slides. It stops.", ["A blue box slides", "a blue box stops"]),
        ("theme: a red ball falls",
         ["a red ball falls", "a red ball moves slowly to the right and bounces on the floor"]),
        ("a little girl throws; she laughs", ["a little girl throws", "a little girl laughs"]),
    ],
)  # fmt: skip
def test_a_theme_is_broken_into_shots(tmp_path, theme, prompts):
    assert [shot.prompt for shot in read_story(write(tmp_path, theme))] == prompts


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("a red ball falls", "two shots or more; it has one"),
        ("theme: rain", "two shots or more; it has one"),
        ("a ball\n0 s: it falls", "a length above 0 s and words; got '0 s: it falls'"),
        ("a ball\n1 s:", "and words"),
        ("\n", "a prompt on each line; it has none"),
    ],
)
def test_what_is_no_story_gets_a_sentence(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_story(write(tmp_path, text))


def test_whom_it_is_about():
    assert find_subject("The orange steel ball hits a box") == "an orange steel ball"
    assert find_subject("rain") is None and carry("it falls", None) == "it falls"
    assert carry("a blue box falls", "a red ball") == "a blue box falls beside a red ball"
