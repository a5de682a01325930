"""The model hub: whether it can be reached, asked once and not for long; sizes of what is published there."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

_SECONDS = 4.0
"""How long the hub is waited for."""
_SIZES_ONLY: ContextVar[bool] = ContextVar("sizes_only", default=False)


@dataclass(frozen=True)
class Published:
    """What is known of a checkpoint on the hub without asking it."""

    license: str
    """As its model card says."""
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Its settings that are not the defaults of its library's class."""
    kind: str = ""
    """That class, of an autoencoder of diffusers."""


_T5_LARGE = {"d_model": 1024, "num_layers": 24, "num_heads": 16, "d_kv": 64, "vocab_size": 32128}
_GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
PUBLISHED: Mapping[str, Published] = {
    "facebook/vjepa2-vitl-fpc64-256": Published("MIT"),
    "google-t5/t5-large": Published("Apache-2.0", {**_T5_LARGE, "d_ff": 4096}),
    "google/flan-t5-large": Published("Apache-2.0", {**_T5_LARGE, **_GATED, "d_ff": 2816}),
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": Published("Apache-2.0", kind="AutoencoderKLWan"),
}
"""By hub id: enough to say how large a run gets before anything is fetched."""


@contextmanager
def sizes_only() -> Iterator[None]:
    """Inside, what is built has its sizes and no weights: nothing is read, fetched, or drawn at random.

    The tables of schedulers are no weights: they are looked into, and hold their numbers.
    """
    import sys

    from torch.utils._device import DeviceContext

    class Sizes(DeviceContext):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if sys._getframe(1).f_globals.get("__name__", "").startswith("diffusers.schedulers"):
                return func(*args, **(kwargs or {}))
            return super().__torch_function__(func, types, args, kwargs)

    token = _SIZES_ONLY.set(True)
    try:
        with warnings.catch_warnings(), Sizes("meta"):
            warnings.filterwarnings("ignore", message=".*from a non-meta parameter")  # it is meant
            yield
    finally:
        _SIZES_ONLY.reset(token)


def only_sizes() -> bool:
    """Whether weights are left out, see `sizes_only`."""
    return _SIZES_ONLY.get()


def is_here(name: str) -> bool:
    """Whether a checkpoint is a file or folder here, or was fetched from the hub before."""
    from huggingface_hub import constants

    kept = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    return Path(name).expanduser().exists() or kept.is_dir()


def require_hub(name: str) -> None:
    """A hub id needs the hub, or what was fetched from it before; what is here needs neither.

    transformers asks the hub about every file, and waits for each: where it cannot be reached, they are read
    from the cache without a question.

    Args:
        name: Folder, file or hub id of a checkpoint.

    Raises:
        OSError: It is not here, and the hub cannot be reached.
    """
    if Path(name).expanduser().exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        return
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and _is_reachable(
        f"{constants.ENDPOINT}/{name}/resolve/main/config.json"
    ):
        return
    kept = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    if not kept.is_dir():
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} does not answer"
        raise OSError(
            f"{name!r} must be a folder that is here, or a hub id that can be fetched; {why}. Fetch it where "
            f"there is a network, `hf download {name} --local-dir FOLDER`, and give that folder."
        )
    from transformers.utils import hub

    constants.HF_HUB_OFFLINE = hub._is_offline_mode = True


@cache
def _is_reachable(address: str) -> bool:
    """Whether a hub answers there, be it that nothing is there; an error of its own (5xx) is no answer.

    A look-up of the hub's name has no limit of its own, so it is left behind.
    """
    from huggingface_hub.utils import get_session

    answers: list[int] = []

    def ask() -> None:
        try:
            answers.append(get_session().head(address, timeout=_SECONDS).status_code)
        except Exception:  # of requests, the resolver, a proxy
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_SECONDS)
    return bool(answers) and answers[0] < 500
