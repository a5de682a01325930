"""`worldgen tune`: its options, and what it says. Heavy imports live inside: the help must be instant."""

from __future__ import annotations

from pathlib import Path


def tune(
    clip: str,
    run: Path,
    out: Path,
    prompt: str | None = None,
    steps: int = 150,
    rank: int = 8,
    lr: float = 5e-4,
    seed: int = 0,
) -> None:
    """Teach a generator one clip: a LoRA of its denoiser, in peft's own format.

    Args:
        clip: Video, or clip of shards as FOLDER:NUMBER.
        run: Folder of a trained generator.
        out: Folder of the LoRA; one of before is replaced.
        prompt: What the clip shows; a clip of shards has its own.
        steps: Of training.
        rank: Of the LoRA.
        lr: Peak of the learning rate.
        seed: Same seed, same bits.

    Example:
        worldgen tune assets/readme/drop.mp4 --run assets/nano/generator
            --prompt "a red ball drops" --out tuned
    """
    from worldgen.generation.tuning import Tuning
    from worldgen.generation.tuning import tune as tune_on

    tuned = tune_on(run, clip, prompt, out, Tuning(steps, rank, lr, seed))
    print(f"Loss {tuned.told['loss_first']:.4f} at first, {tuned.told['loss_last']:.4f} at last.")
    print(f"worldgen generate {run} ... --tuned {out}")
