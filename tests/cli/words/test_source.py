"""What is read off the source is what Python itself says that a class or function takes."""

import inspect
from importlib import import_module

import pytest

from worldgen.cli.words.source import locate, signature


@pytest.mark.parametrize(
    "path",
    [
        "worldgen.tasks.parts.codec.CodecTask",
        "worldgen.tasks.generator.WorldGenerator",
        "worldgen.tasks.measures_encoded.SurpriseMetric",  # a dataclass above a dataclass
        "worldgen.runs.folder.open_run",
    ],
)
def test_parameters_are_those_that_python_sees(path):
    module, _, name = path.rpartition(".")
    taken = inspect.signature(getattr(import_module(module), name)).parameters
    found = signature(path)
    assert list(found.parameters) == list(taken)
    needed = {name for name, one in found.parameters.items() if one.default is None}
    assert needed == {name for name, one in taken.items() if one.default is inspect.Parameter.empty}


def test_texts_and_classes_are_those_of_the_source():
    found = signature("worldgen.tasks.parts.codec.CodecTask")
    assert found.parameters["warmup"].text == "Steps."
    assert found.parameters["codec"].classes == ("worldgen.diffusion.codec.ConvCodec",)
    assert not found.abstract and signature("worldgen.tasks.measures_encoded.EncodedMetric").abstract


def test_a_name_is_followed_to_the_file_that_defines_it():
    module, definition = locate("worldgen.tasks.adapters.WorldGenerator")
    assert module.name == "worldgen.tasks.generator" and definition.name == "WorldGenerator"
    assert locate("worldgen.tasks.parts.codec.Nothing") is None and signature("nowhere.at.all") is None
