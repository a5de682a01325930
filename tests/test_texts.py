"""Tables that no spreadsheet runs, and yaml that is as small as it looks."""

import csv
import io

import pytest

from worldgen.texts import csv_text, read_yaml


def test_no_cell_is_a_formula_and_numbers_stay():
    cells = ["=1+1", "+cmd", "-a.mp4", "@x", "a=b", "-1.5", -1.5, None, "", "\tx", "a,b"]
    read = next(csv.reader(io.StringIO(csv_text([cells]))))
    assert read == ["'=1+1", "'+cmd", "'-a.mp4", "'@x", "a=b", "-1.5", "-1.5", "", "", "'\tx", "a,b"]


def test_yaml_is_read_with_a_few_aliases():
    assert read_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}}", "f.yaml") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 1},
    }
    assert read_yaml("", "f.yaml") is None


def test_aliases_that_write_out_to_too_much_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ValueError, match=r"f\.yaml must hold at most 100000 values; its aliases"):
        read_yaml("\n".join(lines), "f.yaml")
    with pytest.raises(ValueError, match=r"f\.yaml must hold at most 100000 values"):
        read_yaml("a: &a [*a]", "f.yaml")


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "[" * 5000, "!!python/object/apply:os.system [x]"])
def test_what_is_no_yaml_is_one_sentence(text):
    with pytest.raises(ValueError, match=r"f\.yaml must be yaml; it cannot be read.*\. Correct it\."):
        read_yaml(text, "f.yaml")


@pytest.mark.parametrize(
    "text, key, line", [("a: 1\nb: 2\na: 3", "a", 3), ("x:\n  - {c: 1, d: 2}\n  - {c: 1, c: 2}", "c", 3)]
)
def test_a_key_that_stands_twice_is_refused(text, key, line):
    with pytest.raises(
        ValueError, match=f"mine must have each key once in a place; {key} stands in line {line} once"
    ):
        read_yaml(text, "mine")


def test_a_key_may_stand_in_several_places():
    assert read_yaml("a: {b: 1}\nc: {b: 2}\nb: 3", "mine") == {"a": {"b": 1}, "c": {"b": 2}, "b": 3}
    assert read_yaml("a: &x {b: 1}\nc: *x", "mine") == {"a": {"b": 1}, "c": {"b": 1}}
