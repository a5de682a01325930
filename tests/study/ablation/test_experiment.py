"""A study declares what can be meant, or says in one sentence what cannot."""

import pytest
import yaml

from tests.study.ablation.tiny_study import ROOT, declaration, write
from worldgen.study.ablation.experiment import BASE, read_experiment

ABLATIONS = ROOT / "configs" / "ablations"


def test_layers_are_the_base_its_options_and_then_the_arm(tmp_path):
    experiment = read_experiment(write(tmp_path / "study.yaml", declaration(tmp_path)))
    base, no_text, half = experiment.arms
    assert (base.name, no_text.name, half.name) == (BASE, "no_text", "half_data")
    assert experiment.measures == ("trajectory RMSE", "object present") and experiment.seeds == (0, 1)
    words = experiment.layers(no_text)
    assert words[-1] == f"--config={ABLATIONS / 'no_text.yaml'}"
    assert words[: len(experiment.layers(base))] == experiment.layers(base)
    assert experiment.layers(half)[-1] == "--data.clips=8"


def test_what_an_arm_sets_takes_away_what_the_class_of_before_had(tmp_path):
    experiment = read_experiment(write(tmp_path / "study.yaml", declaration(tmp_path)))
    base, no_text, _ = map(experiment.settings, experiment.arms)
    assert base["model.conditioner.text.checkpoint"].endswith("t5")
    assert no_text["model.conditioner.text"] is None
    assert "model.conditioner.text.checkpoint" not in no_text


def test_arms_may_be_a_pattern_of_files(tmp_path):
    declared = declaration(tmp_path, arms=[str(ABLATIONS / "no_t*.yaml"), str(ABLATIONS / "velocity.yaml")])
    experiment = read_experiment(write(tmp_path / "study.yaml", declared))
    assert [arm.name for arm in experiment.arms] == [BASE, "no_text", "velocity"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": [0, 1, 0]}, "seed 0 stands twice"),
        ({"seeds": []}, "must be a list of whole numbers"),
        ({"seeds": [True]}, "must be a list of whole numbers"),
        ({"budget": {"steps": 0}}, "above 0"),
        ({"budget": {"steps": 5, "clips": 5}}, "one of steps, seconds and clips"),
        ({"budget": {"hours": 5}}, "one of steps, seconds and clips"),
        ({"budget": {"seconds": float("inf")}}, "above 0"),
        ({"evaluation": {"clips": 4}}, "takes data"),
        ({"evaluation": {"data": "x", "clips": 1}}, "from 2"),
        ({"primary": ["a"]}, "the name of one measure"),
        ({"arms": {}}, "arms must be files"),
        ({"arms": {"base": "x.yaml"}}, "not base"),
        ({"arms": {"../up": "x.yaml"}}, "it is a folder"),
        ({"arms": [str(ABLATIONS / "nothing_*.yaml")]}, "no file matches"),
        ({"arms": {"a": str(ABLATIONS / "gone.yaml")}}, "no file matches"),
        ({"arms": {"a": {"options": {"model.seed": 3}}}}, "may not set model.seed"),
        ({"arms": {"a": {"options": {"trainer.max_steps": 3}}}}, "may not set trainer.max_steps"),
        ({"arms": {"a": {"options": {"model.conditioner.dim": 32}}}}, "arm a is base by another name"),
        (
            {"arms": {
                "a": str(ABLATIONS / "no_text.yaml"), "b": {"options": {"model.conditioner.text": None}}}},
            "arm b is a by another name",
        ),
        (
            {"arms": {"a": {"configs": [str(ABLATIONS / "no_text.yaml")], "options": {
                "model.conditioner.text.init_args.checkpoint": "x"}}}},
            "both set model.conditioner.text",
        ),
        ({"arm": {}}, "Did you mean arms"),
        ({"share_cache": "yes"}, "true or false"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said_in_a_sentence(tmp_path, changes, sentence):
    path = write(tmp_path / "study.yaml", declaration(tmp_path, **changes))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_experiment(path)
    assert sentence in str(caught.value)


def test_a_study_must_declare_what_decides(tmp_path):
    declared = declaration(tmp_path)
    del declared["primary"], declared["seeds"]
    with pytest.raises(ValueError, match="must say seeds, primary"):
        read_experiment(write(tmp_path / "study.yaml", declared))
    (tmp_path / "list.yaml").write_text(yaml.safe_dump([1]))
    with pytest.raises(ValueError, match="must have keys"):
        read_experiment(tmp_path / "list.yaml")
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.yaml"):
        read_experiment(tmp_path / "gone.yaml")
