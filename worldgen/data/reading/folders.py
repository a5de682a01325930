"""What a folder holds: videos, and what else lies there, which nobody may pass over without a word."""

from __future__ import annotations

from pathlib import Path

from worldgen.data.reading.pictures import IMAGE_SUFFIXES, is_animated

VIDEO_SUFFIXES = frozenset(
    """
    .mp4 .m4v .mov .qt .3gp .3g2 .f4v .mkv .webm .avi .divx .gif .mpg .mpeg .mpv .m1v .m2v .vob .ts .m2ts .mts
    .m2t .wmv .asf .flv .ogv .ogm .mxf .dv .nut .y4m .ivf .rm .rmvb
    """.split()  # noqa: SIM905
)
_BESIDE = frozenset(
    ".txt .md .rst .csv .tsv .json .jsonl .yaml .yml .toml .xml .html .srt .vtt .ass .log .py".split()  # noqa: SIM905
)
"""Of texts, which may say something about videos."""
_ARCHIVES = frozenset(".tar .gz .tgz .bz2 .tbz2 .xz .txz .zst .zip .7z .rar".split())  # noqa: SIM905
_RAW = frozenset(".h264 .264 .avc .h265 .265 .hevc .obu .mjpg .mjpeg .yuv".split())  # noqa: SIM905


def find_videos(folder: Path) -> list[Path]:
    """The videos of a folder, animated pictures included, in order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_file() and is_video(path))


def is_video(path: Path) -> bool:
    """Whether a file is one by its ending, or an animated picture."""
    return path.suffix.lower() in VIDEO_SUFFIXES or is_animated(path)


def list_passed_over(folder: Path) -> list[tuple[str, str]]:
    """What lies in a folder beside its videos, texts and hidden files: name, and why it is not looked at."""
    found = []
    for path in sorted(folder.iterdir()):
        reason = why_passed_over(path)
        if reason and not path.name.startswith("."):
            found.append((path.name, reason))
    return found


def why_passed_over(path: Path) -> str:
    """Why a file or folder is not looked at: "kind: detail"; "" for videos and for texts beside them."""
    suffix = path.suffix.lower()
    if path.is_symlink() and not path.exists():
        return "dangling link: what it leads to is not there"
    if path.is_dir():
        return "folder: what is in it is not looked at; give it by itself"
    if is_video(path) or suffix in _BESIDE:
        return ""
    if suffix in IMAGE_SUFFIXES:
        return "picture: it does not move"
    if suffix in _ARCHIVES:
        return "archive: unpack it first"
    if suffix in _RAW:
        return "raw stream: it does not say when frames were filmed; put it into mp4 or mkv with its rate"
    return f"unknown: {suffix or 'no ending'} is no ending of a video"
