"""The model hub: whether it can be reached, asked once and not for long."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

_SECONDS = 4.0
"""How long the hub is waited for."""


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
