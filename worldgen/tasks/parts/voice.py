"""Training an acoustic model on what another voice makes of captions."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from worldgen.audio import letters as letters_code
from worldgen.audio.letters import Aligned, LettersToMel, align
from worldgen.audio.voice import Speech, Voice, load_voice
from worldgen.diffusion.average import WeightAverage
from worldgen.files import write_atomically
from worldgen.tasks.averaging import AveragedTask
from worldgen.tasks.schedule import require_training, scheduled

_CODE = hashlib.sha256(inspect.getsource(letters_code.align).encode()).hexdigest()
"""What was aligned once by other code is aligned again."""


class VoiceTask(AveragedTask):
    """Log-mel frames and durations of a teacher's speech, by its own word times.

    Each different caption of the data is spoken once, and kept.

    Args:
        acoustic: What is trained.
        teacher: Voice that is learned from, as ``--voice`` takes it; hibari's when None.
        texts: Captions that are spoken at most; all different ones when None.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        weight_decay: AdamW's.
        average: Decay of the moving average of weights, which is what validates and ships.
        cache: Folder for speech.
    """

    def __init__(
        self,
        acoustic: LettersToMel,
        teacher: str | None = None,
        texts: int | None = None,
        lr: float = 2e-3,
        warmup: int = 50,
        weight_decay: float = 0.01,
        average: float = 0.99,
        cache: Path = Path("outputs/cache"),
    ) -> None:
        super().__init__()
        require_training(lr, warmup, weight_decay)
        self.acoustic, self.teacher, self.texts = acoustic, teacher, texts
        self.average = WeightAverage(acoustic.parameters(), average)
        self.lr, self.warmup, self.weight_decay, self.cache = lr, warmup, weight_decay, cache
        self._heard: dict[str, Aligned] = {}

    def setup(self, stage: str) -> None:
        """Let the teacher speak."""
        if stage != "fit":
            return
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        texts = sorted(set(data.captions()))
        if self.texts is not None:  # evenly, so that captions of all kinds are heard
            texts = texts[:: max(1, len(texts) // self.texts)][: self.texts]
        self._heard = self.listen(texts)
        data.train_on(texts)

    def listen(self, texts: list[str]) -> dict[str, Aligned]:
        """What the teacher makes of texts, from the cache where it has spoken them.

        Raises:
            ValueError: A caption that it cannot speak, and which; or there is no such teacher.
        """
        voice, heard = None, {}
        for text in texts:
            meant = f"{self.teacher}\n{_CODE}\n{self.acoustic.scale}\n{text}"
            mark = hashlib.sha256(meant.encode()).hexdigest()
            path = self.cache / "voice" / f"{mark[:24]}.safetensors"
            if not path.is_file():
                voice = voice or load_voice(self.teacher)
                one = align(_speak(voice, text), self.acoustic.scale)
                mel = one.mel.half().contiguous()
                write_atomically(path, save({"tokens": one.tokens, "ends": one.ends, "mel": mel}))
            kept = load_file(path)
            heard[text] = Aligned(kept["tokens"], kept["ends"], kept["mel"].float())
        return heard

    def training_step(self, texts: tuple[str, ...], index: int) -> Float[Tensor, ""]:
        mel, duration = self.acoustic.loss(*_stack([self._heard[text] for text in texts], self.device))
        self.log_dict({"train/mel": mel, "train/duration": duration}, prog_bar=True, batch_size=len(texts))
        return mel + 0.2 * duration

    def validation_step(self, texts: tuple[str, ...], index: int) -> None:
        heard = self.listen(list(texts))
        with torch.no_grad(), self.average.applied():
            mel, duration = self.acoustic.loss(*_stack(list(heard.values()), self.device))
        self.log_dict({"val/mel": mel, "val/duration": duration}, prog_bar=True, batch_size=len(texts))

    def on_fit_end(self) -> None:
        """Export the averaged model, which ``--voice`` takes."""
        if self.trainer.log_dir and self.trainer.is_global_zero:
            with self.average.applied():
                self.acoustic.save(Path(self.trainer.log_dir) / "voice")

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(
            self.acoustic.parameters(), lr=self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay
        )
        return scheduled(optimizer, self.warmup, self.trainer)


def _speak(voice: Voice, text: str) -> Speech:
    try:
        return voice.speak(text)
    except ValueError as error:
        raise ValueError(
            f"Of the caption {text[:40]!r} nothing can be learned: {error} Or name a model.teacher that can."
        ) from error


def _stack(heard: list[Aligned], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, ends and mel of several, the shorter ones filled up."""
    tokens = pad_sequence([one.tokens for one in heard], batch_first=True)
    ends = [torch.cat([one.ends, one.ends[-1:].expand(tokens.shape[1] - len(one.ends))]) for one in heard]
    mel = pad_sequence([one.mel for one in heard], batch_first=True)
    return tokens.to(device), torch.stack(ends).to(device), mel.to(device)
