"""AdapterHub's adapters (Poth et al. 2023, 2311.11077): bottleneck, prefix, (IA)^3; loaded, stacked, fused.

For the networks that the library knows (T5, mT5, CLIP, ViT, BERT, ...), and for V-JEPA 2 through its plug-in
interface. The network stays the same object; the library adds places for adapters to its layers.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from worldgen.encoders.adapters import Adapter, silence
from worldgen.encoders.lora import bare_maps
from worldgen.files import atomic_folder


@dataclass(frozen=True, kw_only=True)
class HubAdapter(Adapter):
    """What AdapterHub's adapters have in common; a network carries any number, and they compose."""

    @abstractmethod
    def add(self, network: Any) -> Any:
        """Add the weights, without letting them act; what to activate."""

    @property
    def leaves(self) -> tuple[HubAdapter, ...]:
        """The single adapters that this one is composed of."""
        return (self,)

    def attach(self, network: Any) -> None:
        with bare_maps(network):
            init_network(network)
        taken = {leaf.name for leaf in self.leaves} & set(network.adapters_config)
        if taken:
            raise ValueError(
                f"An adapter's name must be new to its network; {min(taken)!r} is there. Choose another."
            )
        before = set(network.adapters_config)
        try:
            with bare_maps(network):
                block = self.add(network)
        except Exception:
            for name in set(network.adapters_config) - before:
                network.delete_adapter(name)
            raise
        self._open(network, block)

    def activate(self, network: Any) -> None:
        self._require_attached(network)
        silence(network)
        self._open(network, self.block())

    def deactivate(self, network: Any) -> None:
        silence(network)

    def merge(self, network: Any) -> None:
        raise ValueError(
            f"An adapter must be a change of weights to be merged; {type(self).__name__} computes beside "
            "them. Leave it attached, or eject it."
        )

    def eject(self, network: Any) -> None:
        self._require_attached(network)
        active = network.active_adapters
        if active and {leaf.name for leaf in self.leaves} & active.flatten():
            network.set_active_adapters(None)
        self.remove(network)

    def remove(self, network: Any) -> None:
        """Delete the weights of what does not act."""
        network.delete_adapter(self.name)

    def save(self, network: Any, folder: Path) -> None:
        self._require_attached(network)
        with atomic_folder(folder) as partial, bare_maps(network):
            network.save_adapter(str(partial), self.name, use_safetensors=not has_prefix(self, network))

    def parts(self, network: Any) -> tuple[nn.Module, ...]:
        if not hasattr(network, "adapters_config") or self.name not in network.adapters_config:
            return ()
        return tuple(part for layer in network.get_adapter(self.name).values() for part in layer.values())

    def train(self, network: Any, mode: bool) -> None:
        super().train(network, mode)
        for leaf in self.leaves:
            if not leaf.trains:
                for part in leaf.parts(network):
                    part.eval()

    def block(self) -> Any:
        """How the library is told to run this one."""
        return self.name

    def _open(self, network: Any, block: Any) -> None:
        """Act; learn where it is to be learned; nothing else of the network does."""
        network.freeze_model(True)
        for part in self.parts(network):
            part.requires_grad_(True).to(network.device)
        for leaf in self.leaves:
            if not leaf.trains:
                for part in leaf.parts(network):
                    part.requires_grad_(False)
        network.set_active_adapters(block)
        network.eval()


@dataclass(frozen=True, kw_only=True)
class NewHubAdapter(HubAdapter):
    """One that starts untrained."""

    @abstractmethod
    def config(self, network: Any) -> Any:
        """The library's own settings."""

    def add(self, network: Any) -> str:
        try:
            network.add_adapter(self.name, config=self.config(network))
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__} must be known to AdapterHub for {network.config.model_type}; it is "
                "not. Use Lora."
            ) from error
        if not self.parts(network):
            network.delete_adapter(self.name)
            raise ValueError(
                f"{type(self).__name__} must find a place in {type(network).__name__}; AdapterHub has none "
                "there. Use Lora."
            )
        return self.name


@dataclass(frozen=True, kw_only=True)
class Bottleneck(NewHubAdapter):
    """A narrow layer after each feed-forward block, ``h + U f(D h)`` (Pfeiffer et al. 2021, 2005.00247).

    The library draws U with a spread of 0.02, which leaves the network only nearly as it was; here U starts
    at zero (the library's ``mam_adapter`` start), so that training starts from the network as it is.

    Args:
        reduction: The block's width over the narrow layer's.
        dropout: Of what comes out of the narrow layer.
    """

    reduction: float = 16.0
    dropout: float = 0.0

    def config(self, network: Any) -> Any:
        from adapters import SeqBnConfig

        return SeqBnConfig(
            reduction_factor=self.reduction,
            dropout=self.dropout,
            init_weights="mam_adapter",
            # Through the plug-in interface D would see the residual stream only where the whole network is
            # called, and other numbers where a part of it is, such as V-JEPA's encoder.
            original_ln_before=getattr(network, "adapter_interface", None) is None,
        )


@dataclass(frozen=True, kw_only=True)
class Prefix(NewHubAdapter):
    """Learned keys and values before those of each layer (Li & Liang 2021, 2101.00190).

    It changes the network's results from the first step on: attention has more to look at.

    Args:
        length: How many.
        width: Of the map that they are made by while they learn.
    """

    length: int = 30
    width: int = 512

    def config(self, network: Any) -> Any:
        from adapters import PrefixTuningConfig

        return PrefixTuningConfig(prefix_length=self.length, bottleneck_size=self.width)


@dataclass(frozen=True, kw_only=True)
class IA3(NewHubAdapter):
    """Learned scales of keys, values and inner numbers, 1 at first (Liu et al. 2022, 2205.05638)."""

    def config(self, network: Any) -> Any:
        from adapters import IA3Config

        return IA3Config()

    def merge(self, network: Any) -> None:
        from adapters.methods.lora import LoRALayer

        self._require_attached(network)
        scaled: list[Any] = [layer for layer in network.modules() if isinstance(layer, LoRALayer)]
        for layer in scaled:
            if self.name in layer.loras:
                scale = layer.loras[self.name]
                layer.merge_adapter(self.name)
                layer.merged = None  # it is the layer's own weight from here on
                if layer.bias is not None:  # the library scales what comes out, but merges only the weight
                    layer.bias.data = scale.com(layer.bias.data, scale.delta_w.flatten())
        self.eject(network)


def init_network(network: Any) -> None:
    """Give the network's layers their places for adapters; what it computes stays the same.

    Raises:
        ValueError: If the library does not know the network.
    """
    try:
        import adapters
    except ImportError as error:
        raise ValueError(
            "AdapterHub's adapters need the package adapters; it is not installed. "
            "Run: pip install 'worldgen[adapters]'."
        ) from error
    kind = getattr(getattr(network, "config", None), "model_type", None)
    # It warns at each pass in which no adapter acts.
    logging.getLogger("adapters.model_mixin").setLevel(logging.ERROR)
    training = network.training
    try:
        adapters.init(network, interface=_vjepa2_interface() if kind == "vjepa2" else None)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"AdapterHub must know the network; it does not know {type(network).__name__}. Use Lora."
        ) from error
    network.train(training)


def has_prefix(adapter: HubAdapter, network: Any) -> bool:
    """Whether one of its leaves is a prefix: the layers share its tensors, which safetensors cannot write."""
    pool = getattr(network, "prefix_tuning", None)
    return pool is not None and any(leaf.name in pool.prefix_tunings for leaf in adapter.leaves)


def _vjepa2_interface() -> Any:
    """Where V-JEPA 2's encoder has what the library looks for; its predictor gets no adapters."""
    from adapters import AdapterModelInterface

    return AdapterModelInterface(
        adapter_methods=["bottleneck", "lora"],
        model_embeddings="encoder.embeddings",
        model_layers="encoder.layer",
        layer_self_attn="attention",
        layer_cross_attn=None,  # type: ignore[arg-type]  there is none
        attn_q_proj="query",
        attn_k_proj="key",
        attn_v_proj="value",
        attn_o_proj="proj",
        layer_intermediate_proj="mlp.fc1",
        layer_output_proj="mlp.fc2",
        layer_pre_self_attn="norm1",
        layer_pre_ffn="norm2",
    )
