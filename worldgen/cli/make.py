"""The commands that make and show things, as typed functions: `worldgen.cli.main` makes options of them.

Heavy imports live inside: the help must be instant.
"""

from __future__ import annotations

from pathlib import Path


def simulate(
    out: Path,
    families: list[str] = ["drop", "bounce", "collide"],  # noqa: B006 never written to
    clips: int = 512,
    size: int = 64,
    frames: int = 16,
    fps: float = 25.0,
    seed: int = 0,
    processes: int | None = None,
    split: str | None = None,
    engine: str = "processes",
    shards: str | None = None,
    captioner: str | None = None,
    held_out: bool = False,
) -> None:
    """Simulate, film and caption scenes into shards; a second run goes on.

    Args:
        out: Folder of the shards.
        families: Scene families, taken in turn.
        clips: How many clips.
        size: Rows and columns in pixels.
        frames: Frames per clip.
        fps: Frames per second.
        seed: Same seed, same bits; 500 to 999 are held out.
        processes: Simulating processes; all cores when left out.
        split: train, id or ood:FACTOR: mass, friction, restitution, gravity, speed, size, count, color,
            camera, light, lighting, background or camera_motion is held out.
        engine: local (one by one), processes, ray or slurm.
        shards: Only these shards, such as 7 or 0:100 (the last not included), of 64 clips each.
        captioner: Captioning model of transformers (folder or id) that writes the prompts.
        held_out: Take a seed that is kept for scenes to test on.

    Example:
        worldgen simulate --families drop bounce --clips 512 --out data/train
    """
    from worldgen.data.engines.opening import open_engine
    from worldgen.data.shards.simulate import simulate_shards

    summary = simulate_shards(
        out,
        families,
        clips,
        size,
        frames,
        fps,
        seed,
        split=split,
        engine=open_engine(engine, processes),
        shards=shards,
        captioner=captioner,
        held_out=held_out,
    )
    print(f"{summary.clips} clips in {summary.folder}, {summary.skipped} skipped, {summary.seconds:.0f} s.")


def import_data(
    folder: Path,
    out: Path,
    size: int = 64,
    frames: int = 16,
    fps: float | None = None,
    stride: int | None = None,
    captions: Path | None = None,
    square: bool = False,
    images: bool = False,
    background: int = 255,
    processes: int | None = None,
    captioner: str | None = None,
    multiple: int = 16,
    engine: str = "processes",
) -> None:
    """Cut a folder of real videos into shards; a second run does only what is missing.

    Args:
        folder: Videos, WebDataset tars at any depth, or a LeRobot v3 set.
        out: Folder of the shards; dropped.csv says what was left out.
        size: Rows and columns of square clips; others have as many pixels.
        frames: Frames per clip.
        fps: Frames per second of clips; else each video's own.
        stride: Frames from clip to clip; as many as one has when left out.
        captions: Table (csv, tsv, jsonl, json) of file and caption; else NAME.txt beside NAME.mp4, captions.*
            or metadata.* in the folder.
        square: Crop everything to squares, for models of one size.
        images: Take pictures too, as clips of one frame.
        background: Gray level, 0 to 255, behind transparent pixels.
        processes: Reading processes; all cores when left out.
        captioner: Captioning model (folder or id) for every caption.
        multiple: Rows and columns are multiples of this.
        engine: local (one by one), processes, ray or slurm.

    Example:
        worldgen data import my_videos/ --out shards/
    """
    from worldgen.data.engines.opening import open_engine
    from worldgen.data.importing.importing import import_videos

    done = import_videos(
        folder,
        out,
        size,
        frames,
        fps,
        stride,
        captions,
        square,
        images,
        background,
        captioner=captioner,
        multiple=multiple,
        engine=open_engine(engine, processes),
    )
    sizes = ", ".join(f"{name}: {count}" for name, count in done.buckets)
    losses = ", ".join(f"{kind} {count}" for kind, count in done.dropped)
    print(f"{done.clips} clips ({sizes}) of {done.recordings} recordings in {out}, {done.imported} read now.")
    print(f"{done.captioned} of {done.clips} clips have a caption. {done.captions}")
    print(f"Left out: {losses or 'nothing'}; see {out}/dropped.csv. {done.seconds:.0f} s.")


def show_data(folder: Path, out: Path | None = None) -> None:
    """Print what a folder of shards holds, and draw a contact sheet.

    Args:
        folder: The shards.
        out: Picture of the contact sheet to write (png); none when left out.

    Example:
        worldgen data show shards/ --out sheet.png
    """
    from worldgen.data.media import write_png
    from worldgen.data.shards.inspection import contact_sheet, print_summary, summarize_shards

    print_summary(summarize_shards(folder))
    if out is not None:
        write_png(out, contact_sheet(folder))
        print(f"Contact sheet: {out}")


def export(clip: list[Path], out: Path, clips: int | None = None) -> None:
    """Write clips or tracks as MJCF (free bodies, and held ones) and as scripts that build them in Blender.

    Args:
        clip: Folders of shards, single shards (.tar), or files of tracks (.csv, .json, .trk).
        out: Folder of NAME.xml, NAME.mocap.xml and NAME.py.
        clips: Export only the first so many of each folder or shard.

    Example:
        worldgen export data/test --clips 1 --out scenes/
    """
    from worldgen.evaluation.foreign.tracks import write_exports

    written = write_exports(clip, out, clips)
    print(f"{len(written)} files in {out}, first {written[0].name}.")


def show_cache(folder: Path = Path("outputs/cache")) -> None:
    """Print what a cache holds.

    Args:
        folder: The cache.

    Example:
        worldgen cache show outputs/cache
    """
    from worldgen.runs.plan_cache import print_cache

    print_cache(folder)
