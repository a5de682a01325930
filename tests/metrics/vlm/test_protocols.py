import pytest

from tests.metrics.vlm.parrot import Parrot, colors
from worldgen.metrics.vlm.protocols import (
    GRADES,
    PhyGenEval,
    PhyGenItem,
    PhyGenVerdict,
    VideoPhy2,
    VideoPhy2Verdict,
    measure_phygeneval,
    measure_videophy2,
    phygeneval_item,
    read_option,
    read_rating,
    read_yes_no,
)


@pytest.mark.parametrize(
    "reply, rating",
    [
        ("4", 4), (" **4** ", 4), ("**4**/5", 4), ("4 out of 5", 4), ("Four.", 4), ("4. The ball falls.", 4),
        ("4, since it falls", 4), ("3 - it floats", 3), ("Rating: 2", 2), ("My score is 5/5", 5),
        ("I would rate this video a 3.", 3), ('{"score": 4, "reason": "2 balls"}', 4),
        ('```json\n{"rating": 1}\n```', 1), ("The answer is **2**", 2), ("5\nNothing is wrong.", 5),
        # nothing that may be guessed
        ("", None), ("I notice nothing odd", None), ("the one on the left falls", None),
        ("2 balls fall", None), ("4.5", None), ("Rating: 4.5", None), ("6", None), ("0", None),
        ("Score: 1 to 5", None), ("1-5", None),
        ("rating: 4, on second thought rating: 2", None), ("between 3 and 4", None), ("-", None),
        ("zero gravity, so 4", None), ("14", None), ("I would rate it highly", None),
    ],
)  # fmt: skip
def test_ratings_are_read_strictly(reply, rating):
    assert read_rating(reply, 1, 5) == rating


@pytest.mark.parametrize(
    "reply, answer",
    [
        ("Yes", True), ("no.", False), ("**No**, it floats", False), ("{'Choice':'Yes','Reason':'x'}", True),
        ('{"Choice": "No", "Reason": "yes"}', False), ("notice the ball", None), ("not really", None),
        ("yesterday", None), ("Yes and no", None), ("yes/no", None), ("It does, yes", None), ("", None),
    ],
)  # fmt: skip
def test_yes_and_no_are_read_strictly(reply, answer):
    assert read_yes_no(reply) is answer


def test_one_option_must_be_named():
    assert read_option("Almost Realistic", GRADES) == 3
    assert read_option('{"Choice": "Highly unrealistic", "Reason": "not Almost Realistic"}', GRADES) == 1
    assert read_option("Slightly or Highly Unrealistic", GRADES) == 1  # the other is not named in full
    assert read_option("Slightly Unrealistic, or Almost Realistic", GRADES) is None
    assert read_option("Realistic", GRADES) is None


def test_videophy2_asks_for_two_ratings_and_each_rule():
    judge = Parrot(drops="5", laws="2", blue="1", falls="maybe", spins="2")
    found = VideoPhy2().judge(judge, colors(6), 'a "ball" drops {rule}', ("is blue", "falls", "spins"))
    assert found == VideoPhy2Verdict(5, 2, (1, None, 2)) and found.joint is False
    assert 'a "ball" drops {rule}' in judge.asked[0][1] and len(judge.asked) == 5
    own = VideoPhy2(match="M {caption}", physical="P", rule="R {rule}")
    assert own.judge(Parrot(M="4", P="4", R="0"), colors(2), "x", ("y",)) == VideoPhy2Verdict(4, 4, (0,))


def test_videophy2_is_counted_by_hand():
    verdicts = [
        VideoPhy2Verdict(5, 4, (1, 0, 2)),
        VideoPhy2Verdict(4, 3, (1, None)),
        VideoPhy2Verdict(None, 1),
        VideoPhy2Verdict(3, 5),
    ]
    assert [verdict.joint for verdict in verdicts] == [True, False, None, False]
    joint, semantic, physical, rules = measure_videophy2(verdicts)
    assert joint.value == pytest.approx(1 / 3) and joint.n == 3 and joint.low < 1 / 3 < joint.high
    assert "1 of 4 videos without an answer that can be read" in joint.note
    assert semantic.value == 4.0 and semantic.n == 3 and physical.value == 3.25 and physical.n == 4
    assert rules.value == pytest.approx(2 / 3) and rules.n == 3
    assert "1 of 4 rules without" in rules.note and "1 could not be told" in rules.note
    assert {measure.claim for measure in (joint, semantic, physical, rules)} == {"opinion"}
    none = measure_videophy2([VideoPhy2Verdict(None, None)])
    assert [measure.value for measure in none] == [None] * 4


STEPS = ("it falls", "it breaks", "everything")
ITEM = PhyGenItem("an egg falls", "gravity", "a broken egg", STEPS, ("A", "B", "C", "D"))


def egg(falls, verdict):
    replies = {"broken egg": "2", "it falls": falls, "it breaks": "No", "everything": "yes"}
    return Parrot(**replies, gravity=verdict)


def test_phygeneval_asks_five_questions():
    judge = egg("Yes", GRADES[3])
    found = PhyGenEval().judge(judge, colors(9), ITEM)
    assert found == PhyGenVerdict(2, 2, 3) and found.grade == 2
    assert [count for count, _ in judge.asked] == [1, 2, 2, 3, 9]
    assert "Almost Realistic: D" in judge.asked[-1][1] and "an egg falls" in judge.asked[-1][1]
    found = PhyGenEval().judge(egg("notice", "?"), colors(9), ITEM)
    assert found == PhyGenVerdict(2, None, None) and found.grade is None


def test_phygenevals_score_is_the_published_formula():
    """item = floor((closed + open) / 2), each the rounded mean of three; over 3, and averaged."""
    assert PhyGenVerdict(3, 2, 3).grade == 3 and PhyGenVerdict(0, 1, 0).grade == 0
    assert [phygeneval_item(*pair) for pair in ((3, 2), (1, 2), (0, 1), (3, 3))] == [2, 1, 0, 3]
    closed = [PhyGenVerdict(3, 3, 3), PhyGenVerdict(1, 2, 1), PhyGenVerdict(None, 3, 3)]
    opened = [PhyGenVerdict(2, 2, 2), PhyGenVerdict(1, 1, 1), PhyGenVerdict(3, 3, 3)]
    found = measure_phygeneval(closed, opened)
    assert found.value == pytest.approx((2 / 3 + 1 / 3) / 2) and found.n == 2
    assert "1 of 3 videos without an answer" in found.note and found.unit == "of 3 points"
    assert measure_phygeneval(closed).value == pytest.approx((1 + 1 / 3) / 2)
    with pytest.raises(ValueError, match="Both judges must see the same videos; got 3 and 1"):
        measure_phygeneval(closed, opened[:1])
