"""`worldgen expand`: its options, and what it prints. Heavy imports live inside: the help must be instant."""

from __future__ import annotations

from pathlib import Path


def expand(
    prompt: str,
    model: Path | None = None,
    endpoint: str | None = None,
    name: str = "default",
    seconds: float = 60.0,
    seed: int = 0,
) -> None:
    """Write a short prompt out as a long caption, in the words that training used.

    By rules, unless a language model is named; nothing of the prompt is lost, and what is added is shown.

    Args:
        prompt: What happens.
        model: Folder of a causal language model (safetensors), or a file .gguf.
        endpoint: Address of an OpenAI-compatible server, such as http://localhost:8000/v1.
        name: Of the model at --endpoint.
        seconds: Patience with --endpoint.
        seed: Of the rules' choice of words.

    Example:
        worldgen expand "a red ball falls"
    """
    if model is not None and endpoint is not None:
        raise ValueError("--model and --endpoint cannot go together; give one of them.")
    from worldgen.generation.words.expanding import RuleWriter, Writer

    writer: Writer = RuleWriter(seed)
    if model is not None:
        from worldgen.generation.words.writers import LocalWriter

        writer = LocalWriter(model)
    elif endpoint is not None:
        from worldgen.generation.words.writers import RemoteWriter

        writer = RemoteWriter(endpoint, name, seconds=seconds)
    told = writer.write(prompt)
    print(told.text)
    print()
    for part in told.added or ("nothing",):
        print(f"added: {part}")
    if told.lost:
        print(f"put back by the prompt in front: {', '.join(told.lost)}")
