"""The page says the verdicts, and what is missing; a whole study is tried in test_ablate.py."""

from dataclasses import replace
from pathlib import Path

from worldgen.study.ablation.cells import Cell, Mark, State, Study
from worldgen.study.ablation.experiment import Arm, Budget, EvaluationSet, Experiment
from worldgen.study.ablation.page import write_page
from worldgen.study.ablation.tables import ResultRow, Results
from worldgen.study.ablation.work import Trial

TRIAL = Trial("a", "b", (), "c", "d", (), 1000, 0.1, 0.1, 0.1)
MARK = Mark("a", "b", "c", "d")
NUMBERS = (5.0, 5.0, 2.0, 1.5, 2.5, 0.001, 0.002, 1.0, 0.1, 0.5)
WORSE = ResultRow("no_<b>text", "RMSE", "px", 4, 12, 0, *NUMBERS, "worse")


def page(folder: Path, seeds: tuple[int, ...]) -> str:
    arms = (Arm("base"), Arm("no_<b>text"))
    experiment = Experiment((), (), arms, seeds, Budget(steps=6), EvaluationSet("data"), "RMSE", ("RMSE",))
    rows = (
        ResultRow("base", "RMSE", "px", len(seeds), 12, 0, 3.0, 3.0),
        replace(WORSE, seeds=len(seeds)),
    )
    cells = [Cell(arms[1], 2, folder / "cell", MARK, 6)]
    study = Study(experiment, folder, (6, 6), "code")
    states = [State("failed", "No space.")]
    path = write_page(study, Results("RMSE", rows, (), ()), [TRIAL, TRIAL], cells, states)
    return path.read_text()


def test_it_says_a_verdict_and_what_is_missing(tmp_path):
    text = page(tmp_path, (0, 1, 2, 3))
    assert "no_&lt;b&gt;text: worse." in text and "<b>text" not in text
    assert "seed 2" in text and "failed: No space." in text
    assert "<svg" in text


def test_few_seeds_are_a_screening(tmp_path):
    assert "A screening of 2 seeds: nothing is called a difference below 4." in page(tmp_path, (0, 1))
