"""Generated clips, judged one after the other: what is kept of each is numbers and tracks, not frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worldgen.data.crew import Crew, Promise
from worldgen.evaluation.cases import ClipFindings, HeldOut, ObservedTruth, judge_clip
from worldgen.evaluation.outcomes import FilmedStates, measure_lpips
from worldgen.metrics.checks.replay import OwnError
from worldgen.metrics.fidelity import PerceptualDistance
from worldgen.types import Clip

if TYPE_CHECKING:  # it opens ImageBind's library
    from worldgen.evaluation.features import EncoderView


@dataclass(frozen=True)
class JudgedClip:
    """What is kept of a clip."""

    family: str
    truth: FilmedStates
    found: ClipFindings
    """With the frames that the page shows, if it shows this clip."""
    lpips: float | None = None


class Judging:
    """Clips that a crew judges while the next ones are generated; each is let go when it is judged.

    Args:
        crew: Judges them.
        context_frames: First frames that were given, at least 1.
        perceived: Measures LPIPS; left out when None.
        view: An encoder that looks at every pair; none when None.
    """

    def __init__(
        self,
        crew: Crew,
        context_frames: int,
        perceived: PerceptualDistance | None = None,
        view: EncoderView | None = None,
    ) -> None:
        self._crew, self._context_frames = crew, context_frames
        self._perceived, self._view = perceived, view
        self._waiting: deque[tuple[HeldOut, Clip, Promise[ClipFindings]]] = deque()
        self.judged: list[JudgedClip] = []
        self.failed: list[tuple[str, str]] = []
        """Those that cannot be judged, with the reason."""

    def __len__(self) -> int:
        """How many are not judged yet."""
        return len(self._waiting)

    def submit(
        self,
        one: HeldOut,
        made: Clip,
        coded: Clip,
        truth: ObservedTruth | None,
        moves: bool,
        own: OwnError | None,
    ) -> None:
        """Have a clip judged; the arguments are those of `judge_clip`."""
        work = (judge_clip, one, made, coded, self._context_frames, truth, moves, own)
        self._waiting.append((one, made, self._crew.submit(*work)))

    def take(self) -> None:
        """Wait for the clip that was submitted first.

        Raises:
            ChildProcessError: A process that judges was killed.
        """
        one, made, promise = self._waiting.popleft()
        try:
            found = promise.result()
        except ChildProcessError:
            raise
        except Exception as error:  # whatever one clip does, the others are judged
            self.failed.append((one.name, f"checking failed ({type(error).__name__}: {error})"))
            return
        distance = None
        if self._perceived is not None:
            distance = measure_lpips(made, one.clip, self._context_frames, self._perceived)
        if self._view is not None:
            self._view.add(one.clip, made)
        self.judged.append(JudgedClip(one.family, FilmedStates.of(one.clip), found, distance))
