import pytest

from worldgen.cli.trainings import own_options, require_numbers, training_of

OPTIONS = (("-c FILE", ""), ("--out PATH", ""), ("--dry", ""))


def test_own_options_are_taken_out_of_the_words_of_a_training():
    words = ["pretrain", "codec", "--out", "x", "-c", "a.yaml", "--model.lr=1", "--dry=1"]
    taken, given = own_options(words, OPTIONS, "plan")
    assert taken == ["-c", "a.yaml", "--model.lr=1"] and given == {"--out": "x", "--dry": "1"}
    with pytest.raises(ValueError, match="--out needs a value: worldgen plan --help"):
        own_options(["fit", "--out"], OPTIONS, "plan")


def test_the_training_that_is_meant_is_found():
    assert training_of(["pretrain", "codec", "-c", "x"])[0] == ["pretrain", "codec"]
    assert training_of(["-c", "x"])[1].command == "fit"
    with pytest.raises(ValueError, match="worldgen pretrain takes"):
        training_of(["pretrain"])


@pytest.mark.parametrize("value", ["-1", "nan", "x"])
def test_a_number_below_its_least_is_refused(value):
    require_numbers({}, (("--measure", float, 0),))
    with pytest.raises(ValueError, match="--measure must be a number from 0"):
        require_numbers({"--measure": value}, (("--measure", float, 0),))
