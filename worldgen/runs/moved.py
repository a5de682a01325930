"""Class paths that a yaml of before may hold, by where the class stands now.

No aliases: a run folder or config of before says in one sentence what to change.
"""

from __future__ import annotations

_MODULES = {
    "worldgen.data.storage": "worldgen.data.cache.precision",
    "worldgen.data.noise": "worldgen.data.transforms",
    "worldgen.data.inertial": "worldgen.data.transforms",
    "worldgen.encoders.imagebind_config": "worldgen.encoders.imagebind_layers",
    "worldgen.encoders.predicted": "worldgen.encoders.future",
    "worldgen.encoders.whole": "worldgen.encoders.future",
    "worldgen.simulation.render": "worldgen.simulation.rendering.render",
    "worldgen.study.denoising": "worldgen.study.likelihood",
    "worldgen.study.runs": "worldgen.runs.folder",
    "worldgen.tasks.gradients": "worldgen.tasks.regularizers.gradients",
    "worldgen.tasks.labelled_regularizers": "worldgen.tasks.regularizers.labelled",
    "worldgen.tasks.start_regularizers": "worldgen.tasks.regularizers.starts",
}
_CLASSES = {
    "worldgen.study.denoising.Preference": "worldgen.study.likelihood.PreferenceMetric",
    "worldgen.tasks.measures.Fidelity": "worldgen.tasks.measures.FidelityMetric",
    "worldgen.tasks.measures.PhysicsIQ": "worldgen.tasks.measures.PhysicsIQMetric",
    "worldgen.tasks.measures.Plausibility": "worldgen.tasks.measures.PlausibilityMetric",
    "worldgen.tasks.measures_encoded.Distance": "worldgen.tasks.measures_encoded.SetDistanceMetric",
    "worldgen.tasks.measures_encoded.Geometry": "worldgen.tasks.measures_encoded.GeometryMetric",
    "worldgen.tasks.measures_encoded.Surprise": "worldgen.tasks.measures_encoded.SurpriseMetric",
}
"""Those that have another name too."""


def explain_moved(path: str) -> str | None:
    """A sentence that says where the class of a class path stands now; None where it did not move."""
    module, _, name = path.rpartition(".")
    now = _CLASSES.get(path) or (f"{_MODULES[module]}.{name}" if module in _MODULES else None)
    return f"{path} is called {now} now; change it there." if now else None


def refuse_moved(value: object, source: str) -> None:
    """Raise ValueError where a class path of before stands anywhere in what yaml held.

    Args:
        value: Mappings, lists and words.
        source: Where it stands, which the sentence begins with.
    """
    if isinstance(value, dict):
        for item in value.values():
            refuse_moved(item, source)
    elif isinstance(value, list):
        for item in value:
            refuse_moved(item, source)
    elif isinstance(value, str) and (sentence := explain_moved(value)):
        raise ValueError(f"{source}: {sentence}")
