import pytest

from worldgen.audio.spoken_text import is_latin, require_readable, spell_out


@pytest.mark.parametrize(
    "text, spoken",
    [
        ("0", "zero"),
        ("13 balls", "thirteen balls"),
        ("42", "forty two"),
        ("1,250,000", "one million two hundred fifty thousand"),
        ("1000", "one thousand"),
        ("110", "one hundred ten"),
        ("9.81", "nine point eight one"),
        ("0.05", "zero point zero five"),
        ("-5 °C", "minus five degrees Celsius"),
        ("(-3)", "(minus three)"),
        ("3-5 balls", "three to five balls"),
        ("the 21st and the 12th", "the twenty first and the twelfth"),
        ("1 m", "one meter"),
        ("2.5 kg", "two point five kilograms"),
        ("30cm", "thirty centimeters"),
        ("9.81 m/s^2.", "nine point eight one meters per second squared."),
        ("20 km/h", "twenty kilometers per hour"),
        ("50 %,", "fifty percent,"),
        ("5 N s", "five newton seconds"),
        ("2 s & 1 g", "two seconds and one gram"),
        ("v = 3", "v equals three"),
        ("4K", "four K"),
        ("at 7:30", "at seven thirty"),
        ("5 stones", "five stones"),
        ("3 mice", "three mice"),
        ("9" * 16, " ".join(["nine"] * 16)),
        ("  two\n words ", "two words"),
    ],
)
def test_numbers_and_units_are_put_in_words(text, spoken):
    assert spell_out(text) == spoken


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "must have letters or digits to be spoken; got ''"),
        ("?! ...", "must have letters or digits"),
        ("\N{GRINNING FACE}", "must have letters or digits"),
        ("a" * 10_000, "at most 5,000 characters to be spoken; got 10,000"),
        ("ball мяч", r"Ann cannot read 'м' \(cyrillic\), 3 of 7 letters"),
        ("日本", r"cannot read '日' \(cjk\), 2 of 2 letters"),
    ],
)
def test_what_cannot_be_spoken_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        require_readable(text, is_latin, "Ann")


def test_accents_are_read():
    require_readable("a café in Malmö, 3 m", is_latin, "Ann")
