"""VITS of transformers: text to samples in one network; MMS has one for each of 1,100 languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from worldgen.audio.spoken_text import is_latin
from worldgen.audio.voice import Speech, Voice, Word
from worldgen.hub import require_hub

if TYPE_CHECKING:
    from transformers import VitsModel

_ENGLISH = (None, "en", "eng", "en-us")
_PHONEMES = (
    "{} is a VITS of phonemes, which need the package phonemizer and the program espeak-ng; they are not "
    "installed. Run: pip install phonemizer; or take a voice of letters, such as facebook/mms-tts-eng."
)


@final
class VITS(Voice):
    """VITS (Kim et al. 2021, 2106.06103), as ``facebook/mms-tts-eng`` (MMS, Pratap et al. 2023, 2305.13516).

    Word times are the durations that the network draws. Numbers are put in words where its tokenizer says
    that it reads English; other languages want them in words already.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout.
        speaker: Which of its speakers, where there are several.
    """

    model: VitsModel

    def __init__(self, checkpoint: str, speaker: int = 0) -> None:
        require_hub(checkpoint)
        from transformers import AutoConfig, AutoTokenizer, VitsModel

        try:
            config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
            if config.model_type != "vits":
                raise ValueError(f"its config.json says {config.model_type!r}")
            self.tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
            self.model, found = VitsModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                checkpoint, output_loading_info=True
            )
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = " ".join(str(error).split()).split(". ")[0][:300]
            raise ValueError(f"{checkpoint!r} must be a VITS checkpoint (id or folder): {reason}") from error
        if found["missing_keys"]:
            raise ValueError(
                f"{checkpoint!r} must hold a whole VITS; {len(found['missing_keys'])} tensors miss, "
                f"{min(found['missing_keys'])} first."
            )
        if config.num_speakers > 1 and not 0 <= speaker < config.num_speakers:
            raise ValueError(f"{checkpoint!r} has speakers 0 to {config.num_speakers - 1}; got {speaker}.")
        self.model.eval().requires_grad_(False)
        self.checkpoint, self.speaker = checkpoint, speaker if config.num_speakers > 1 else None
        self.rate = config.sampling_rate

    def reads(self, letter: str) -> bool:
        """Whether the tokenizer has a token for a letter."""
        if self.tokenizer.phonemize or (letter.isdigit() and self._reads_english):
            return is_latin(letter)
        known = self.tokenizer.get_vocab()
        return self.tokenizer.is_uroman or letter in known or letter.lower() in known

    def normalize(self, text: str) -> str:
        """The text as it is read; numbers in English words where the tokenizer says English."""
        return super().normalize(text) if self._reads_english else " ".join(text.split())

    @property
    def _reads_english(self) -> bool:
        return self.tokenizer.language in _ENGLISH

    @torch.no_grad()
    def _say(self, text: str, seed: int, speed: float) -> Speech:
        try:
            given = self.tokenizer(text, return_tensors="pt")["input_ids"]
            read, _ = self.tokenizer.prepare_for_tokenization(text)
        except ImportError as error:
            raise ValueError(_PHONEMES.format(self.checkpoint)) from error
        self.model.speaking_rate = speed * self.model.config.speaking_rate
        drawn: list[Tensor] = []
        hook = self.model.duration_predictor.register_forward_hook(lambda *call: drawn.append(call[-1]))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                sound = self.model(given, speaker_id=self.speaker).waveform[0]
        finally:
            hook.remove()
        frames = torch.ceil(torch.exp(drawn[0].flatten()) / self.model.speaking_rate)  # as VitsModel has it
        step = len(sound) / float(frames.sum()) / self.rate if frames.sum() else 0.0
        ends = (frames.cumsum(0) * step).tolist()
        stride, first = (2, 1) if self.tokenizer.add_blank else (1, 0)  # a blank stands around each letter
        words, place = [], 0
        for word in read.split(" "):
            tokens = first + stride * place, first + stride * (place + len(word) - 1)
            if word and tokens[1] < len(ends):
                words.append(Word(word, ends[tokens[0] - 1] if tokens[0] else 0.0, ends[tokens[1]]))
            place += len(word) + 1
        return Speech(sound.clamp(-1, 1), self.rate, tuple(words))
