"""The words that are said of an effect, no stronger than its intervals."""

from worldgen.study.effects import Effect, Estimate


def effect_of(floors=None, latent=None, toward=None, change="swapped"):
    some = Estimate(1.0, 0.5, 1.5)
    return Effect("text", change, 4, latent or some, some, some, floors, toward, None)


def test_heeded_is_what_chance_does_not_explain():
    beyond, within = Estimate(2.0, 1.1, 3.0), Estimate(0.9, 0.5, 1.2)
    assert effect_of(floors=beyond).verdict == "heeded" and effect_of(floors=within).verdict.startswith(
        "not heeded beyond"
    )
    assert effect_of(floors=within, toward=Estimate(0.1, 0.05, 0.2)).verdict == "heeded"
    assert effect_of(floors=within, toward=Estimate(0.1, -0.1, 0.3)).verdict.startswith("not heeded beyond")
    # An interval that includes twice the noise, or half of the way, excludes nothing.
    wide = Estimate(1.9, 0.9, 4.2)
    assert effect_of(floors=wide).verdict == "not known with 4 clips"
    some_way = Estimate(0.2, -0.3, 0.7)
    assert effect_of(floors=within, toward=some_way).verdict == "not known with 4 clips"
    assert effect_of(floors=within).verdict == "not heeded beyond 1.2 of noise"
    # Without noise any change is one.
    assert effect_of().verdict == "heeded"
    assert effect_of(latent=Estimate(0.0, 0.0, 0.0)).verdict.startswith("not heeded beyond")
