"""AdapterHub's adapters that others trained, and how several act together: stacked or fused."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from worldgen.encoders.adapterhub import HubAdapter, has_prefix
from worldgen.encoders.lora import bare_maps
from worldgen.files import atomic_folder
from worldgen.hub import require_hub

_CONFIG, _WEIGHTS = "adapter_config.json", ("adapter.safetensors", "pytorch_adapter.bin")


@dataclass(frozen=True, kw_only=True)
class Saved(HubAdapter):
    """An adapter that was trained before, for a language or a task; it acts, and does not learn.

    Args:
        source: Folder in AdapterHub's layout, or hub id, e.g. ``AdapterHub/...``.
    """

    source: str = field(repr=False)

    @property
    def trains(self) -> bool:
        return False

    def add(self, network: Any) -> str:
        folder = _find(self.source)
        _require_fit(network, folder)
        found: dict[str, list[str]] = {}
        try:
            network.load_adapter(str(folder), load_as=self.name, loading_info=found, use_safetensors=True)
        except OSError as error:  # it unpickles nothing but tensors
            raise ValueError(
                f"The weights in {self.source} must be tensors that can be read; they are not."
            ) from error
        except Exception as error:  # the library lets through whatever its parts raise
            reason = str(error).strip().split("\n")[-1].strip().rstrip(".")
            raise ValueError(_foreign(self.source, network, reason)) from error
        if found["missing_keys"]:
            raise ValueError(_foreign(self.source, network, f"{len(found['missing_keys'])} tensors miss"))
        return self.name


@dataclass(frozen=True, kw_only=True)
class Stack(HubAdapter):
    """Adapters one after the other, e.g. a language's and then a task's (Pfeiffer et al. 2020, 2005.00052).

    Args:
        layers: What is stacked; each has a name of its own.
    """

    layers: tuple[HubAdapter, ...]

    def __post_init__(self) -> None:
        _require_names(self)

    @property
    def leaves(self) -> tuple[HubAdapter, ...]:
        return tuple(leaf for layer in self.layers for leaf in layer.leaves)

    @property
    def trains(self) -> bool:
        return any(layer.trains for layer in self.layers)

    def add(self, network: Any) -> Any:
        for layer in self.layers:
            layer.add(network)
        return self.block()

    def block(self) -> Any:
        from adapters import composition

        return composition.Stack(*(layer.block() for layer in self.layers))

    def parts(self, network: Any) -> tuple[nn.Module, ...]:
        return tuple(part for layer in self.layers for part in layer.parts(network))

    def remove(self, network: Any) -> None:
        for layer in self.layers:
            layer.remove(network)

    def save(self, network: Any, folder: Path) -> None:
        _save_setup(self, network, folder)


@dataclass(frozen=True, kw_only=True)
class Fuse(HubAdapter):
    """Adapters side by side, and learned attention over what each says (Pfeiffer et al. 2021, 2005.00247).

    Args:
        members: What is fused: bottlenecks, new or saved; each has a name of its own.
    """

    members: tuple[HubAdapter, ...]

    def __post_init__(self) -> None:
        _require_names(self)
        if any(member.leaves != (member,) for member in self.members):
            raise ValueError(
                "Fuse's members must be single adapters; got a composition. Stack the Fuse instead."
            )
        if len(self.members) < 2:
            raise ValueError(f"Fuse needs at least two adapters; got {len(self.members)}.")

    @property
    def leaves(self) -> tuple[HubAdapter, ...]:
        return tuple(leaf for member in self.members for leaf in member.leaves)

    def add(self, network: Any) -> Any:
        for member in self.members:
            member.add(network)
        network.add_adapter_fusion(self.block())
        if not self._fusions(network):
            network.delete_adapter_fusion(self.block())
            raise ValueError(
                "Fuse's members must all be bottlenecks in the same places; "
                f"{[leaf.name for leaf in self.leaves]} are not. Stack them."
            )
        return self.block()

    def block(self) -> Any:
        from adapters import composition

        return composition.Fuse(*(member.block() for member in self.members))

    def parts(self, network: Any) -> tuple[nn.Module, ...]:
        inner = tuple(part for member in self.members for part in member.parts(network))
        return inner + self._fusions(network) if inner else ()

    def _fusions(self, network: Any) -> tuple[nn.Module, ...]:
        from adapters.methods.bottleneck import BottleneckLayer

        name = self.block().name
        layers = (layer for layer in network.modules() if isinstance(layer, BottleneckLayer))
        return tuple(
            layer.adapter_fusion_layer[name] for layer in layers if name in layer.adapter_fusion_layer
        )

    def remove(self, network: Any) -> None:
        network.delete_adapter_fusion(self.block())
        for member in self.members:
            member.remove(network)

    def save(self, network: Any, folder: Path) -> None:
        _save_setup(self, network, folder)


def _require_names(block: Stack | Fuse) -> None:
    names = [leaf.name for leaf in block.leaves]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"Adapters in a {type(block).__name__} must each have a name of their own; got {names}."
        )


def _find(source: str) -> Path:
    """The adapter's folder, fetched from the hub where it is no path."""
    folder = Path(source)
    if not folder.is_dir() and not source.startswith((".", "/", "~")) and source.count("/") == 1:
        from adapters.utils import resolve_adapter_path

        require_hub(source)
        try:
            folder = Path(resolve_adapter_path(source))
        except Exception as error:  # of the hub, the network, or the library
            raise OSError(
                f"An adapter must be a folder or a hub id that can be reached; {source!r} is neither."
            ) from error
    if (folder / "adapter_model.safetensors").is_file():
        raise ValueError(f"{source} must hold an adapter of AdapterHub; it holds one of peft. Use SavedLora.")
    if not (folder / _CONFIG).is_file() or not any((folder / weights).is_file() for weights in _WEIGHTS):
        raise FileNotFoundError(
            f"An AdapterHub folder must hold {_CONFIG} and {_WEIGHTS[0]} or {_WEIGHTS[1]}; {source} does not."
        )
    return folder


def _require_fit(network: Any, folder: Path) -> None:
    """Before anything is added: a network is never left with half an adapter."""
    try:
        config = json.loads((folder / _CONFIG).read_text())
    except ValueError as error:
        raise ValueError(f"{folder / _CONFIG} must be json; it is not. Save the adapter again.") from error
    for name in ("model_type", "hidden_size"):
        own = getattr(network.config, name, None)
        if config.get(name, own) != own:
            raise ValueError(
                _foreign(str(folder), network, f"its {name} is {config[name]}, here it is {own}")
            )


def _foreign(source: str, network: Any, reason: str) -> str:
    return (
        f"The adapter {source} must be of this encoder, {type(network).__name__}: {reason}. "
        "It belongs to another encoder."
    )


def _save_setup(block: Stack | Fuse, network: Any, folder: Path) -> None:
    block._require_attached(network)
    with atomic_folder(folder) as partial, bare_maps(network):
        network.save_adapter_setup(
            str(partial), block.block(), use_safetensors=not has_prefix(block, network)
        )
