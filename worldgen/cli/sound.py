"""The commands of sound, as typed functions: `worldgen.cli.main` makes options of them.

Heavy imports live inside: the help must be instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldgen.cli.words.options import either

if TYPE_CHECKING:
    from worldgen.types import Clip


@dataclass(frozen=True)
class SoundOptions:
    """What a clip sounds like; silent where nothing is given.

    Args:
        speech: Text that is spoken; captions for the clip's own.
        sound: impact (blows that its frames show), generated (by the nano generator of sound), or a run.
        voice: CLASS[:CHECKPOINT], yaml or VITS; else hibari-tts'.
        lufs: Loudness of the voice.
    """

    speech: str | None = None
    sound: str | None = None
    voice: str | None = None
    lufs: float = -23.0

    def __post_init__(self) -> None:
        if self.sound not in (None, "impact", "generated") and not Path(self.sound).is_dir():
            raise ValueError(
                f"--sound must be impact, generated or a folder of `pretrain sound`; got {self.sound!r}."
            )
        if self.voice is not None and self.speech is None:
            raise ValueError("--voice speaks what --speech says; give both.")

    def add(self, video: Path, clip: Clip, seed: int) -> str:
        """Put it beside the frames of a video; what was done, in words."""
        if self.speech is None and self.sound is None:
            return ""
        from worldgen.evaluation.soundtrack import Soundtrack, add_soundtrack
        from worldgen.runs.folder import shipped_weights

        run = None if self.sound in (None, "impact") else Path(self.sound)
        if self.sound == "generated":
            run = shipped_weights() / "sound"
        impacts = self.sound == "impact"
        add_soundtrack(video, clip, Soundtrack(self.speech, impacts, run, self.voice, seed, self.lufs))
        by = "" if run is None else f" made by {'the nano ' if self.sound == 'generated' else ''}{run},"
        return f" Sound in it,{by} and in {video.with_suffix('.wav')}."


def narrate(
    data: Path,
    out: Path,
    tells: str = "events",
    voice: str | None = None,
    clips: int | None = None,
    slow: float | None = None,
    lufs: float = -23.0,
    seed: int = 0,
) -> None:
    """Speak what happens in clips at the moment it does: mp4 with sound, srt and vtt.

    Args:
        data: Folder of shards.
        out: Folder of NAME.mp4, NAME.srt and NAME.vtt.
        tells: events (each blow at its contact), or caption.
        voice: CLASS or CLASS:CHECKPOINT, a yaml with class_path and init_args, or a VITS (MMS) of
            transformers by folder or id; the voice inside hibari-tts when left out.
        clips: Narrate only the first so many.
        slow: Times slower than life; as much as the sentences need, 8 at most, when left out.
        lufs: Loudness of the voice.
        seed: Of what the voice draws.

    Example:
        worldgen narrate data/test --clips 4 --out told/
    """
    kinds = ("events", "caption")
    if tells not in kinds:
        raise ValueError(f"--tells must be {either(kinds)}; got {tells!r}.")
    from worldgen.audio.narration import Narrator, narrate_clips
    from worldgen.audio.storylines import tell_caption, tell_events
    from worldgen.audio.voice import load_voice
    from worldgen.data.sources import ShardedClips

    source = ShardedClips(data)
    narrator = Narrator(load_voice(voice), seed, lufs)
    tell = {"events": tell_events, "caption": tell_caption}[tells]
    silent: list[str] = []
    slowest, late, count = 1.0, 0.0, 0
    for told in narrate_clips(source, narrator, tell, out, slow, clips):
        count += 1
        if told.narration is None:
            silent.append(told.silent)
            print(told.silent)
        else:
            slowest, late = max(slowest, told.narration.slow), max(late, told.narration.late)
    if len(silent) == count:
        raise ValueError(f"All {count} clips are written to {out}, and all are silent. {silent[0]}")
    print(
        f"{count} clips in {out}, {len(silent)} of them silent; up to {slowest:.1f} times slower than life, "
        f"no sentence later than {late:.2f} s after what it tells."
    )
