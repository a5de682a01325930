"""What every frozen encoder offers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.encoders.adapters import Adapter
from worldgen.hub import require_hub
from worldgen.texts import build_part, read_part
from worldgen.types import Clip

_DEFAULT = "worldgen.encoders.vjepa2.VJEPA2"


class Tokens(NamedTuple):
    """What an encoder makes of a clip."""

    values: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]
    """True where a token is real."""


class Placed(NamedTuple):
    """Tokens, or what they are made of, and where and when in its clip each token lies."""

    tokens: Tokens
    positions: Float[Tensor, "B L 3"]
    """(t, y, x) as `Encoder.positions` gives them; L is 0 where tokens lie nowhere."""


class Encoder(nn.Module, ABC):
    """Frozen perception: a Clip becomes tokens. Subclasses end their constructor with `freeze`."""

    dim: int
    """D of the tokens."""
    sees_future: bool = False
    """Whether it is shown the whole clip: what is generated from it is a reconstruction, and no forecast."""
    origins: tuple[str, ...] | None = None
    """Modality of each token, where there are several."""

    @abstractmethod
    def encode(self, clip: Clip) -> Tokens:
        """Tokens of a clip."""

    def positions(self, clip: Clip) -> Float[Tensor, "B L 3"] | None:
        """Where the tokens of `encode` lie: (t, y, x) of their centers.

        Returns:
            t in seconds since the first frame; y down and x right as shares of the picture, in (0, 1). None
            where tokens lie nowhere, as those of a text.
        """
        return None

    def prepare(self, clip: Clip) -> Tokens:
        """What of `encode` never changes, and can be computed once and kept: all of it."""
        return self.encode(clip)

    def finish(self, kept: Tokens) -> Tokens:
        """What of `encode` is left to do with what `prepare` made: nothing."""
        return kept

    def freeze(self) -> None:
        """No gradient, no dropout, whatever the module around it is told later."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Encoder:
        """A frozen encoder stays in evaluation mode."""
        return super().train(False)

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name: none, but for those of an adapter."""
        found = self.named_parameters(remove_duplicate=False)
        return {name: parameter for name, parameter in found if parameter.requires_grad}


class AdaptableEncoder(Encoder):
    """An encoder whose network, ``model``, may carry an adapter.

    An adapter that learns changes the tokens with every training step, so that they cannot be computed once.
    What the network is *given* can: `prepare` stops there, and `finish` runs the network, with a gradient for
    the adapter. Without such an adapter `prepare` does everything, as for any other encoder. A subclass ends
    its constructor with `adapt`.
    """

    model: nn.Module
    adapter: Adapter | None = None

    @abstractmethod
    def inputs(self, clip: Clip) -> Tokens:
        """What the network is given, as a pair of tensors, batch axis first: its input, and a mask.

        The input may be of any shape and kind; the mask is the bool mask of the tokens, or (B, 1) where every
        token is real.
        """

    @abstractmethod
    def read(self, inputs: Tokens) -> Tokens:
        """Tokens of what `inputs` made, on the network's device."""

    def adapt(self, adapter: Adapter | None) -> None:
        """Freeze the network, and attach an adapter to it."""
        self.freeze()
        if adapter is not None:
            adapter.attach(self.model)
            self.adapter = adapter
            self.train(self.training)

    def encode(self, clip: Clip) -> Tokens:
        """Tokens of a clip."""
        return self._run(self.inputs(clip))

    def prepare(self, clip: Clip) -> Tokens:
        """The tokens, or, while an adapter learns, what they are made of."""
        inputs = self.inputs(clip)
        return inputs if self.trained() else self._run(inputs)

    def finish(self, kept: Tokens) -> Tokens:
        """The tokens; with a gradient for the adapter while it learns."""
        return self._run(kept) if self.trained() else kept

    def train(self, mode: bool = True) -> AdaptableEncoder:
        """The network stays in evaluation mode; an adapter that learns follows ``mode``."""
        super().train(mode)
        if self.adapter is not None:
            self.adapter.train(self.model, mode)
        return self

    def _run(self, inputs: Tokens) -> Tokens:
        with torch.set_grad_enabled(torch.is_grad_enabled() and bool(self.trained())):
            return self.read(inputs)


def require_folder(checkpoint: str, kind: str, advice: str) -> None:
    """A path that is meant as a folder gets a sentence, instead of a look-up on the hub."""
    looks_like_path = checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1
    if looks_like_path and not (Path(checkpoint) / "config.json").is_file():
        raise FileNotFoundError(f"{kind} folder must hold config.json; {checkpoint} does not. {advice}")
    require_hub(checkpoint)


def fingerprint(module: nn.Module, idle: tuple[str, ...] = ()) -> str:
    """Twelve hex digits that name a frozen module: sha256 over its settings, and its weights by name.

    Of an encoder's adapter that learns, the settings and the names count, and not what was learned.

    Args:
        module: Whose settings are its public numbers, texts and tuples.
        idle: Settings that change nothing of what is asked of it here, and do not count.
    """
    settings = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name not in ("training", *idle)
        and isinstance(value, (int, float, str, tuple))
    }
    if isinstance(module, AdaptableEncoder) and module.adapter is not None:
        settings["adapter"] = module.adapter.describe(module.model)
    trained = module.trained() if isinstance(module, Encoder) else {}
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        if name not in trained and not value.is_meta:  # a part without weights is only counted
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def load_encoder(text: str) -> Encoder:
    """The encoder that is meant.

    Args:
        text: ``FILE.yaml`` with class_path and init_args; ``package.module.Class:CHECKPOINT``; or the folder
            or hub id of a V-JEPA 2.

    Raises:
        FileNotFoundError: No such yaml file.
        ValueError: No such class, or one that cannot be built so.
    """
    if text.endswith((".yaml", ".yml")):
        config = read_part(Path(text), "an encoder")
    else:
        name, colon, checkpoint = text.partition(":")
        if not colon or "/" in name or "." not in name:
            name, checkpoint = _DEFAULT, text
        config = {"class_path": name, "init_args": {"checkpoint": checkpoint}}
    return build_part(Encoder, config, text, "an encoder")
