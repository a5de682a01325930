import pytest

from worldgen.cli.words.source import locate
from worldgen.runs import moved


def test_a_class_of_before_is_found_where_the_sentence_says():
    names = {
        "worldgen.data.cache.precision": "Float16",
        "worldgen.data.transforms": "SensorNoise",
        "worldgen.encoders.imagebind_layers": "ImageBindConfig",
        "worldgen.encoders.future": "WholeClip",
        "worldgen.simulation.rendering.render": "film_trajectory",
        "worldgen.study.likelihood": "PreferenceMetric",
        "worldgen.runs.folder": "open_run",
        "worldgen.tasks.regularizers.gradients": "ConflictFreeGradients",
        "worldgen.tasks.regularizers.labelled": "LawRegularizer",
        "worldgen.tasks.regularizers.starts": "AnchoredRegularizer",
    }
    assert {*moved._MODULES.values()} == {*names}
    for path in [*moved._CLASSES.values(), *(f"{module}.{name}" for module, name in names.items())]:
        assert locate(path) is not None, path
    for path in moved._CLASSES:
        assert locate(path) is None, f"{path} did not move"


@pytest.mark.parametrize(
    "value", ["worldgen.study.runs.open_run", {"a": [{"b": "worldgen.study.runs.open_run"}]}]
)
def test_it_is_found_at_any_depth(value):
    with pytest.raises(
        ValueError, match=r"x\.yaml: worldgen.study.runs.open_run is called worldgen.runs.folder"
    ):
        moved.refuse_moved(value, "x.yaml")
    moved.refuse_moved({"a": ["worldgen.runs.folder.open_run", 3, None]}, "x.yaml")
