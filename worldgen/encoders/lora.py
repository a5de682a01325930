"""LoRA through peft, for any network with linear maps."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldgen.encoders.adapters import Adapter, silence
from worldgen.files import atomic_folder

_USUAL = (("q", "v"), ("query", "value"), ("q_proj", "v_proj"), ("qkv",), ("to_q", "to_v"), ("fc1", "fc2"))
"""What networks call the maps to queries and values; the last are those after attention that is one piece."""
_BESIDE = ("predictor", "decoder")
"""Parts of a network that encoding does not run: weights there would get no gradient."""
_WEIGHTS, _CONFIG, _PREFIX = "adapter_model.safetensors", "adapter_config.json", "base_model.model."
_HUB = ("adapters", "adapter_fusion_layer", "loras", "prefix_tunings")
"""Where AdapterHub keeps its weights: no maps of the network."""
_PLAIN = (
    "r target_modules exclude_modules lora_alpha lora_dropout fan_in_fan_out use_rslora init_lora_weights "
    "layers_to_transform layers_pattern rank_pattern alpha_pattern runtime_config loftq_config eva_config "
    "corda_config lora_ga_config qalora_group_size megatron_core ensure_weight_tying peft_type task_type "
    "auto_mapping base_model_name_or_path revision peft_version inference_mode"
)
"""Settings of peft that leave a LoRA an A and a B beside a linear map; others change more than that."""
_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to draw A and B that leave the network's own weights as they are."""


@dataclass(frozen=True, kw_only=True)
class Lora(Adapter):
    """Low-rank change of linear maps, ``W x + alpha / rank B A x`` (Hu et al. 2021, 2106.09685, eq. 3).

    B is zero at first, so that training starts from the network as it is. Through peft, in place: the network
    keeps its class, and the file is peft's (``adapter_model.safetensors`` and ``adapter_config.json``).

    Args:
        rank: Rows of A.
        alpha: Strength of the change, before it is divided by the rank.
        targets: Last parts of the names of the maps to change. When empty, the maps to queries and values;
            the two feed-forward maps where attention is one piece (``nn.MultiheadAttention``, as in
            ImageBind); and every linear map of a network that has none of the usual names.
        dropout: Of what goes into A.
        start: Folder of a LoRA of the same network to go on from; its own rank, alpha and targets count.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()
    dropout: float = 0.0
    start: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"Lora.rank must be at least 1; got {self.rank}.")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"Lora.dropout must lie in [0, 1); got {self.dropout:.4g}.")

    def attach(self, network: nn.Module) -> None:
        """A drawn at random, B zero; or both from ``start``."""
        if self.start is not None:
            _load_lora(network, Path(self.start), self.name, self.trains)
            return
        _require_peft()
        from peft import LoraConfig

        fused = {path.rpartition(".")[2] for path in _fused_attention(network)}
        if fused.intersection(self.targets):
            raise ValueError(
                f"Lora.targets must name linear maps; {sorted(fused)[0]!r} is attention in one piece. "
                "Name the maps around it."
            )
        beside = "|".join(name for name in _BESIDE if hasattr(network, name))
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  peft divides by the rank whatever the type
            lora_dropout=self.dropout,
            target_modules=list(self.targets or _usual_maps(network)),
            exclude_modules=rf"({beside})\..*" if beside else None,
            base_model_name_or_path=getattr(network, "name_or_path", None) or None,
            auto_mapping={
                "base_model_class": type(network).__name__,
                "parent_library": type(network).__module__,
            },
        )
        _inject(network, config, self.name, self.trains)

    def activate(self, network: nn.Module) -> None:
        self._require_attached(network)
        silence(network)
        for _, layer in _tuner_layers(network):
            layer.set_adapter([self.name], inference_mode=not self.trains)

    def deactivate(self, network: nn.Module) -> None:
        silence(network)

    def merge(self, network: nn.Module) -> None:
        self._require_attached(network)
        for path, layer in _tuner_layers(network):
            if getattr(layer.get_base_layer(), "loras", ()):
                raise ValueError(
                    "A LoRA must be merged while its maps carry nothing else; another adapter changes "
                    f"{path}, and would change the LoRA with it. Eject that one first."
                )
        weights = [weight for part in self.parts(network) for weight in part.parameters()]
        if not all(bool(torch.isfinite(weight).all()) for weight in weights):
            raise ValueError(f"A LoRA must be finite to be merged; {self.name!r} holds nan or inf. Eject it.")
        for _, layer in _tuner_layers(network):
            if self.name in layer.lora_A:
                layer.merge(adapter_names=[self.name])
                layer.merged_adapters.remove(self.name)
        self.eject(network)

    def eject(self, network: nn.Module) -> None:
        self._require_attached(network)
        for path, layer in _tuner_layers(network):
            others = [active for active in layer.active_adapters if active != self.name]
            layer.set_adapter(others)
            layer.delete_adapter(self.name)
            if not layer.lora_A:
                network.set_submodule(path, layer.get_base_layer())
        configs = _configs_of(network)
        del configs[self.name]
        if not configs:
            del network.peft_config

    def save(self, network: nn.Module, folder: Path) -> None:
        from peft.functional import get_peft_model_state_dict

        self._require_attached(network)
        # No embeddings: to learn whether they were changed peft would ask the hub.
        state = get_peft_model_state_dict(network, adapter_name=self.name, save_embedding_layers=False)
        with atomic_folder(folder) as partial:
            save_file(
                {_PREFIX + name: value.detach().cpu().contiguous() for name, value in state.items()},
                partial / _WEIGHTS,
                metadata={"format": "pt"},
            )
            _configs_of(network)[self.name].save_pretrained(str(partial))

    def parts(self, network: nn.Module) -> tuple[nn.Module, ...]:
        return tuple(
            module[self.name]
            for _, layer in _tuner_layers(network)
            for module in (layer.lora_A, layer.lora_B, layer.lora_dropout)
            if self.name in module
        )

    def describe(self, network: nn.Module) -> str:
        config = _configs_of(network).get(self.name)
        return f"{self!r} r={config.r} alpha={config.lora_alpha}" if config else repr(self)


@dataclass(frozen=True, kw_only=True)
class SavedLora(Lora):
    """A LoRA that was trained before; it acts, and does not learn.

    Args:
        start: Its folder, in peft's layout.
    """

    start: str = field(repr=False)  # type: ignore[assignment]  a choice for one that learns; needed here

    @property
    def trains(self) -> bool:
        return False


def linear_maps(network: nn.Module) -> tuple[str, ...]:
    """The linear maps of a network that a LoRA can change, by their names in it.

    Raises:
        ValueError: It has none.
    """
    fused = tuple(f"{path}." for path in _fused_attention(network))  # reads its maps without calling them
    linear = tuple(
        path
        for path, part in network.named_modules()
        if isinstance(part, nn.Linear)
        and path.partition(".")[0] not in _BESIDE
        and not path.startswith(fused)
    )
    if not linear:
        raise ValueError(f"LoRA changes linear maps; {type(network).__name__} has none. Use another adapter.")
    return linear


@contextmanager
def bare_maps(network: nn.Module) -> Iterator[None]:
    """The network's own maps in their places, without the LoRAs around them; these come back at the end.

    AdapterHub replaces the maps of a network by its own ones that weigh the same, and writes its files by
    their names: a LoRA that lies around a map would be thrown away, and end up in the names.
    """
    around = _tuner_layers(network)
    for path, layer in around:
        network.set_submodule(path, layer.get_base_layer())
    try:
        yield
    finally:
        for path, layer in around:
            layer.base_layer = network.get_submodule(path)
            network.set_submodule(path, layer)


def _require_peft() -> None:
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "LoRA needs the package peft; it is not installed. Run: pip install 'worldgen[adapters]'."
        ) from error


def _usual_maps(network: nn.Module) -> tuple[str, ...]:
    """The maps that are changed where none are named."""
    linear = linear_maps(network)
    last = {path.rpartition(".")[2] for path in linear}
    return next((names for names in _USUAL if last.issuperset(names)), linear)


def _fused_attention(network: nn.Module) -> list[str]:
    return [path for path, part in network.named_modules() if isinstance(part, nn.MultiheadAttention)]


def _configs_of(network: nn.Module) -> dict[str, Any]:
    """The settings of the LoRAs of a network by name, as peft keeps them on it."""
    return getattr(network, "peft_config", {})


def _tuner_layers(network: nn.Module) -> list[tuple[str, Any]]:
    if not hasattr(network, "peft_config"):
        return []
    from peft.tuners.lora import LoraLayer

    return [(path, part) for path, part in network.named_modules() if isinstance(part, LoraLayer)]


def _inject(network: nn.Module, config: Any, name: str, trains: bool) -> None:
    from peft.functional import inject_adapter_in_model

    if name in _configs_of(network):
        raise ValueError(f"An adapter's name must be new to its network; {name!r} is there. Choose another.")
    _require_called(network, config)
    if hasattr(network, "adapters_config"):
        hub = rf".*\.({'|'.join(_HUB)})\..*"
        others = config.exclude_modules or []
        if not isinstance(others, str):
            others = "|".join(rf"(.*\.)?{re.escape(path)}" for path in others)
        config.exclude_modules = f"{others}|{hub}" if others else hub
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns where a second one is attached
            inject_adapter_in_model(config, network, name)
    except ValueError as error:
        if not _tuner_layers(network) and hasattr(network, "peft_config"):
            del network.peft_config
        raise ValueError(
            f"Lora.targets must name linear maps of {type(network).__name__}; got "
            f"{sorted(config.target_modules or ())}. See the names in its named_modules()."
        ) from error
    for _, layer in _tuner_layers(network):
        layer.set_adapter([name], inference_mode=not trains)


def _require_called(network: nn.Module, config: Any) -> None:
    """Attention in one piece reads the weights of its maps and never calls them: it would not hear a LoRA."""
    from peft.tuners.tuners_utils import check_target_module_exists

    fused = tuple(f"{path}." for path in _fused_attention(network))
    for path, _ in network.named_modules():
        if path.startswith(fused) and check_target_module_exists(config, path):
            raise ValueError(
                f"Lora.targets must name maps that are called; {path} is part of attention in one piece, "
                "which only reads its weights, so that a LoRA there changes nothing. Name the maps around it."
            )


def _load_lora(network: nn.Module, folder: Path, name: str, trains: bool) -> None:
    """Checks everything first: a network is never left with half an adapter."""
    missing = [file for file in (_CONFIG, _WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"A LoRA's folder must hold {_CONFIG} and {_WEIGHTS}; {folder} lacks {missing[0]}."
        )
    _require_peft()
    from peft import LoraConfig
    from peft.functional import set_peft_model_state_dict

    try:
        config, weights = LoraConfig.from_pretrained(str(folder)), load_file(folder / _WEIGHTS)
    except Exception as error:  # json, peft and safetensors each have errors of their own
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{folder} must hold a LoRA in peft's layout: {reason}.") from error
    if not isinstance(config, LoraConfig):
        raise ValueError(
            f"{folder} must hold a LoRA; peft says that it holds {config.peft_type}. Train a LoRA."
        )
    weights = {key.removeprefix(_PREFIX): value for key, value in weights.items()}
    _require_plain(config, weights, folder)
    _require_fit(network, weights, folder)
    config.inference_mode = not trains
    before = {path: list(layer.active_adapters) for path, layer in _tuner_layers(network)}
    _inject(network, config, name, trains)
    own = sum(name in layer.lora_A for _, layer in _tuner_layers(network))
    if 2 * own != len(weights):  # an A and a B each
        Lora(name=name).eject(network)
        for path, layer in _tuner_layers(network):
            layer.set_adapter(before[path])
        raise ValueError(
            f"The LoRA in {folder} must change every map that its targets name in {type(network).__name__}, "
            f"which are {own}; it holds {len(weights) // 2}. It belongs to another encoder."
        )
    set_peft_model_state_dict(network, weights, adapter_name=name)


def _require_plain(config: Any, weights: dict[str, Tensor], folder: Path) -> None:
    """Of what peft calls a LoRA, that which is one: an A and a B beside linear maps, and nothing else."""
    usual = type(config)()
    more = [
        f"{field.name}: {value}"
        for field in fields(config)
        if field.name not in _PLAIN.split()
        and (value := getattr(config, field.name, None)) != getattr(usual, field.name, None)
        and value  # an empty list asks for nothing
    ]
    if config.init_lora_weights not in _STARTS:
        more.append(f"init_lora_weights: {config.init_lora_weights}, which changes the network's own weights")
    others = sorted(key for key in weights if not key.endswith((".lora_A.weight", ".lora_B.weight")))
    if more or others:
        found = f"its settings say {more[0]}" if more else f"it holds {others[0]}, too"
        raise ValueError(
            f"The LoRA in {folder} must be an A and a B beside linear maps and nothing else; {found[:200]}. "
            "Merge it into its network with peft and load that, or train a plain LoRA."
        )


def _require_fit(network: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    for key, value in weights.items():
        path, _, matrix = key.removesuffix(".weight").rpartition(".")
        try:
            part = network.get_submodule(path)
        except AttributeError:
            part = None
        unwrap = getattr(part, "get_base_layer", None)
        base = part if unwrap is None else unwrap()
        sides = {"lora_A": "in_features", "lora_B": "out_features"}
        own = getattr(base, sides.get(matrix, ""), None)
        given = value.shape[-1 if matrix == "lora_A" else 0]
        if base is None or (own is not None and own != given):
            raise ValueError(
                f"The LoRA in {folder} must be of this encoder, {type(network).__name__}; its {path} "
                + (f"is {given} wide, here it is {own}." if base is not None else "does not exist here.")
                + " It belongs to another encoder."
            )
