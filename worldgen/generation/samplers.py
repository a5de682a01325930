"""The sampler of a run, with what a request says otherwise."""

from __future__ import annotations

import inspect
from importlib import import_module

from diffusers import SchedulerMixin

from worldgen.conditioning import require_slots
from worldgen.diffusion.sampler import Sampler
from worldgen.generation.request import Sampling
from worldgen.model import WorldModel

_FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "final_sigmas_type": "zero"}
_BETAS = {"clip_sample": False, "timestep_spacing": "trailing"}


def choose_sampler(model: WorldModel, asked: Sampling) -> Sampler:
    """The run's sampler, or one with other steps, guidance or scheduler.

    Raises:
        ValueError: No such scheduler, or one that does not lead to data; a guidance that is none, of a slot
            that the run has not, or of one that training never left out; a negative text where no guidance
            leads away from it.
    """
    own = model.sampler
    guidance = read_guidance(asked.guidance, model) if asked.guidance else own.guidance
    if asked.negative is not None:
        scale = guidance.get("text", 1.0) if isinstance(guidance, dict) else guidance
        if model.conditioner.text is None:
            raise ValueError("--negative must be read by a text encoder; this run was trained without text.")
        if scale <= 1:
            raise ValueError(
                f"--negative needs guidance above 1 to lead away from it; it is {scale:g}. Give --guidance 3."
            )
    if asked.steps is None and asked.scheduler is None and guidance == own.guidance:
        return own
    scheduler = own.scheduler if asked.scheduler is None else find_scheduler(asked.scheduler)
    cells = own.cells if asked.scheduler is None else None
    sampler = Sampler(own.steps if asked.steps is None else asked.steps, scheduler, guidance, cells)
    # A negative text takes the place of none.
    led = frozenset() if asked.negative is None else frozenset({"text"})
    known = sampler.asked_slots(model.conditioner.present)
    model.conditioner.require_dropped(slots | led for _, slots in known)
    sampler.require_process(model.process)
    return sampler


def read_guidance(words: list[str], model: WorldModel) -> float | dict[str, float]:
    """One scale, or that of each slot, of words such as ``2.5`` or ``text=3``.

    Raises:
        ValueError: No number, or a slot that the run has not.
    """
    scales: dict[str, float] = {}
    for word in words:
        name, _, number = word.rpartition("=")
        try:
            scales[name] = float(number)
        except ValueError:
            raise ValueError(f"--guidance takes a number, or text=3 video=1; got {word!r}.") from None
    if "" in scales:
        if len(words) > 1:
            raise ValueError(
                f"--guidance takes one number, or one for each slot by name; got {' '.join(words)}."
            )
        return scales[""]
    require_slots(scales, "--guidance")
    absent = [slot for slot in scales if slot not in model.conditioner.present]
    if absent:
        there = ", ".join(model.conditioner.present) or "none"
        raise ValueError(f"--guidance must name slots that the run has, {there}; got {absent[0]}.")
    return scales


def find_scheduler(path: str) -> SchedulerMixin:
    """A scheduler of diffusers by class path, with the settings by which it walks to data.

    Raises:
        ValueError: No such class, or one that is no scheduler.
    """
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(import_module(module or "diffusers"), name)
        taken = inspect.signature(kind).parameters
        if not issubclass(kind, SchedulerMixin):
            raise TypeError("that is no scheduler")
        settings = _FLOW if "use_flow_sigmas" in taken else _BETAS
        return kind(**{key: value for key, value in settings.items() if key in taken})
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"--scheduler must be the class path of a scheduler, such as diffusers.UniPCMultistepScheduler; "
            f"got {path} ({str(error).splitlines()[0]})."
        ) from error
