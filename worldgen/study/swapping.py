"""One condition of each clip in the place of another clip's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from worldgen.conditioning import SLOTS, Conditioner
from worldgen.encoders.base import Placed, Tokens
from worldgen.simulation.scenes.families import RESTITUTION

Parts = list[tuple[int, list[int] | None]]
"""Places of slots, and the tokens in each; all of them when None."""


def choose_partners(families: Sequence[str], prompts: Sequence[str]) -> Int[Tensor, " n"]:
    """Whose condition each clip gets: the next of its family with another prompt, or else the next clip."""
    count, partners = len(families), []
    for index in range(count):
        later = [(index + step) % count for step in range(1, count)]
        alike = [other for other in later if families[other] == families[index]] or later
        partners.append(next((other for other in alike if prompts[other] != prompts[index]), alike[0]))
    return torch.tensor(partners)


def find_conditions(conditioner: Conditioner, slots: tuple[Placed, ...]) -> dict[str, Parts]:
    """What can be swapped, by name: each slot, each modality of a slot that has several, and the prompt.

    A modality of which no clip holds anything is left out.
    """
    found: dict[str, Parts] = {}
    for place, slot in enumerate(conditioner.present):
        found[slot] = [(place, None)]
        encoder = conditioner.encoders[SLOTS.index(slot)]
        assert encoder is not None
        origins = encoder.origins or ()
        for name in dict.fromkeys(origins):
            tokens = [token for token, origin in enumerate(origins) if origin == name]
            if bool(slots[place].tokens.mask[:, tokens].any()):
                found[f"{slot}: {name}"] = [(place, tokens)]
    prompt = [part for name in ("text", "multimodal: text") for part in found.get(name, [])]
    return {**found, "prompt": prompt} if len(prompt) > 1 else found


def swap_condition(
    slots: tuple[Placed, ...],
    parts: Parts,
    partner: Int[Tensor, " n"] | None,
) -> tuple[Placed, ...]:
    """The slots with some tokens taken from each clip's partner; masked, where there is no partner."""
    changed = list(slots)
    for place, chosen in parts:
        (values, mask), positions = changed[place]
        tokens = slice(None) if chosen is None else chosen
        new_values, new_mask, new_positions = values.clone(), mask.clone(), positions
        if partner is None:
            new_mask[:, tokens] = False
        else:
            new_values[:, tokens], new_mask[:, tokens] = values[partner][:, tokens], mask[partner][:, tokens]
            new_positions = positions[partner] if chosen is None else positions
        changed[place] = Placed(Tokens(new_values, new_mask), new_positions)
    return tuple(changed)


def swap_words(prompt: str) -> str:
    """The prompt with each material that sets a restitution turned into the next one."""
    names = list(RESTITUTION)
    turned = dict(zip(names, [*names[1:], names[0]], strict=True))
    return " ".join(turned.get(word, word) for word in prompt.split(" "))
