import numpy as np
import pytest

from worldgen.simulation.engine import model_of
from worldgen.simulation.scenes.families import FAMILIES, draw_scene
from worldgen.simulation.scenes.naming import name_backdrop, name_stands, name_things


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_words_of_the_mjcf_are_those_of_the_scene(family):
    scene = draw_scene(family, 1)
    found = name_things(model_of(scene.spec.to_xml()))
    assert [(thing.color, thing.shape) for thing in found] == [
        (thing.color, thing.shape) for thing in scene.things
    ]


def test_a_material_is_told_by_its_bounce():
    scene = draw_scene("bounce", 3)
    assert [thing.material for thing in name_things(model_of(scene.spec.to_xml()))] == [
        thing.material for thing in scene.things
    ]


def test_what_stands_around_is_named_where_it_can_be_seen():
    assert name_stands(model_of(draw_scene("roll", 0).spec.to_xml())) == ("ramp",)
    assert name_stands(model_of(draw_scene("occlude", 0).spec.to_xml())) == ("screen",)
    assert name_stands(model_of(draw_scene("drop", 0).spec.to_xml())) == ()


def test_the_backdrop_is_as_gray_as_it_is_painted():
    model = model_of(draw_scene("drop", 0).spec.to_xml())
    wall, floor = (
        int(np.flatnonzero([model.geom(i).name == name for i in range(model.ngeom)])[0])
        for name in ("wall", "floor")
    )
    model.geom_rgba[wall], model.geom_rgba[floor] = (1, 1, 1, 1), (0.1, 0.1, 0.1, 1)
    assert name_backdrop(model) == "a white wall and a dark floor"
    model.geom_rgba[wall, 3] = 0
    assert name_backdrop(model) == "a dark floor"
    model.geom_rgba[floor, 3] = 0
    assert name_backdrop(model) == "an empty background"
