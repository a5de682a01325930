"""The recipe from nothing, with a few clips and steps."""

import pytest

from worldgen.runs import recipe
from worldgen.runs.folder import open_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "SCALE", {"train": 64, "val": 16})
        for name in ("CODEC_STEPS", "T5_STEPS", "GENERATOR_STEPS"):
            patch.setattr(recipe, name, 2)
        yield out, recipe.train_from_scratch(out), patch


def test_each_stage_leaves_what_the_next_one_loads(made):
    out, run, _ = made
    weights = out / "weights"
    names = {path.relative_to(weights).as_posix() for path in weights.glob("*/*.safetensors")}
    assert names == {"codec/model.safetensors", "t5/model.safetensors", "generator/model.safetensors"}
    assert (open_run(run).context_odds == open_run(recipe.shipped_weights() / "generator").context_odds).all()


def test_a_second_run_makes_only_what_is_missing(made):
    out, run, patch = made
    before = (run / "model.safetensors").read_bytes()
    (out / "weights" / "t5").rename(out / "away")
    trained, train = [], recipe._train

    def remember(task, *rest):
        trained.append(task.__name__)
        return train(task, *rest)

    patch.setattr(recipe, "_train", remember)
    assert recipe.train_from_scratch(out) == run
    assert trained == ["T5Task"]
    assert (run / "model.safetensors").read_bytes() == before
