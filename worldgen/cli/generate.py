"""`worldgen generate`: its options, and what it says when it is done."""

from __future__ import annotations

from pathlib import Path

from worldgen.cli.sound import SoundOptions
from worldgen.generation.request import (
    Edit,
    Following,
    KnownFrames,
    Request,
    Sampling,
    Shape,
    Wording,
)


def generate(
    out: Path,
    run: Path | None = None,
    prompt: str | None = None,
    prompts: Path | None = None,
    first_frames: Path | None = None,
    seed: int = 0,
    samples: int = 1,
    repeat: Path | None = None,
    shape: Shape = Shape(),  # noqa: B008 frozen
    sampling: Sampling = Sampling(),  # noqa: B008 frozen
    known: KnownFrames = KnownFrames(),  # noqa: B008 frozen
    edit: Edit = Edit(),  # noqa: B008 frozen
    following: Following = Following(),  # noqa: B008 frozen
    wording: Wording = Wording(),  # noqa: B008 frozen
    sound: SoundOptions = SoundOptions(),  # noqa: B008 frozen
) -> None:
    """Make videos of a caption and known frames.

    Args:
        out: Video to write (mp4); beside it a filmstrip and a json.
        run: Folder of a trained generator.
        prompt: What happens.
        prompts: Text file with a prompt on each line, for a clip of each.
        first_frames: Video or picture that the clip begins with.
        seed: Same seed, same bits; each further clip has the next.
        samples: Clips of each prompt.
        repeat: The json beside a clip, which is made once more.
        shape: frames, size, rate, windows of long clips, stages that refine.
        sampling: steps, guidance, scheduler, the best of several draws.
        known: last frames, any frames, extend, join, loop.
        edit: a video made anew, more or less, all of it or a part.
        following: controls that follow another video.
        wording: prompts written out; a story of several shots.
        sound: what it sounds like.

    Example:
        worldgen generate assets/nano/generator --prompt "a red ball drops"
            --first-frames assets/readme/drop.mp4 --out out.mp4
    """
    if repeat is not None:
        repeat_clip(repeat, out)
        return
    told = [one for one in (prompt, prompts, wording.story) if one is not None]
    if run is None or len(told) != 1:
        raise ValueError("worldgen generate needs RUN, and --prompt or --prompts or --story; give them.")
    from worldgen.generation.request import read_prompts
    from worldgen.generation.story import make_clips

    asked = [prompt] if prompt is not None else read_prompts(prompts) if prompts is not None else []
    request = Request(
        run, asked, first_frames, seed, samples, shape, sampling, known, edit, following, wording
    )
    heard = sound.speech is not None or sound.sound is not None
    lacking: list[str] = []
    for one in make_clips(request, out, keep=heard):
        said = ""
        try:
            said = "" if one.clip is None else sound.add(one.file, one.clip, one.seed)
        except ValueError as error:
            lacking.append(str(error))
        print(f"{one.frames} frames in {one.file}.{said}")
    print(f"Pictures in {out.with_suffix('.png')}; {out.with_suffix('.json')} repeats it.")
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        raise ValueError(f"{lacking[0]}{more}")


def repeat_clip(repeat: Path, out: Path) -> None:
    """Make once more what a json tells, and say whether it has the same bits.

    Args:
        repeat: The json.
        out: Video to write (mp4).
    """
    from worldgen.generation.generate import weights_of
    from worldgen.generation.request import read_request
    from worldgen.generation.story import make_clips

    request, told = read_request(repeat)

    if weights_of(request.run) != told.get("weights"):
        raise ValueError(
            f"{repeat} was made with other weights than {request.run} has now. Name the json of these."
        )
    made = make_clips(request, out)
    if [one.get("sha256") for one in told.get("clips", [])] == [one.digest for one in made]:
        print(f"{len(made)} clips with the bits of before, first {made[0].file}.")
    else:
        versions = ", ".join(f"{name} {number}" for name, number in told.get("versions", {}).items())
        print(f"{made[0].file} has not the bits of before, which {versions} made, maybe elsewhere.")
