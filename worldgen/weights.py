"""Weights that training changed, apart from those of frozen parts, by the names that they have in files."""

from __future__ import annotations

from torch import Tensor, nn


class KeptWeights(nn.Module):
    """A network of which frozen parts are kept by name, and only the rest by weight."""

    frozen: tuple[str, ...] = ()
    """What names of weights of frozen parts begin with; those of them that learn, as adapters, are kept."""

    def trained_state(self) -> dict[str, Tensor]:
        """Everything that training changed, and nothing that is frozen, by the names that it has in files."""
        learned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            _IN_FILES.get(name, name): value
            for name, value in self.state_dict().items()
            if name in learned or not name.startswith(self.frozen)
        }

    def load_trained(self, state: dict[str, Tensor], source: str) -> None:
        """Take over what `trained_state` returned.

        Args:
            state: By the names that weights have in files.
            source: Where it comes from, for the error.

        Raises:
            ValueError: It is of another model.
        """
        own = self.trained_state()
        wrong = [name for name in {**own, **state} if _shape(own, name) != _shape(state, name)]
        if wrong:
            raise ValueError(
                f"{source} must hold the model of its config.yaml; {len(wrong)} tensors differ, {min(wrong)} "
                "first. It is a checkpoint of another model."
            )
        here = {name: here for here, name in _IN_FILES.items()}
        found = {here.get(name, name): value for name, value in state.items()}
        self.load_state_dict({**self.state_dict(), **found})

    def take_shared(self, state: dict[str, Tensor]) -> list[str]:
        """Begin with another model's weights wherever name and shape agree, and say where they do not.

        Args:
            state: By the names that weights have in files.

        Returns:
            Names of what was trained anew here: tensors that ``state`` lacks, or has in another shape.
        """
        own = self.trained_state()
        shared = {name: value for name, value in state.items() if _shape(own, name) == _shape(state, name)}
        self.load_trained({**own, **shared}, "The start")
        return sorted(own.keys() - shared.keys())


_IN_FILES = {"latent_std": "spread"}
"""Names that files of weights have kept, where those of the code have changed."""


def _shape(state: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
