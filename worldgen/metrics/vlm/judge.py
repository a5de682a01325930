"""Judges that are asked in words what they see in a video: a model that lies here, or one behind an address.

What they say is an opinion, and is reported as one. Every reply is kept as it came (`Transcript`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from worldgen.hub import require_hub


class Judge(ABC):
    """Answers a question about a video."""

    name: str
    """For the report."""

    @abstractmethod
    def ask(self, frames: Float[Tensor, "T 3 H W"], question: str) -> str:
        """The reply, as it came.

        Args:
            frames: RGB in [0, 1].
            question: In words.

        Raises:
            OSError: The judge cannot be reached, or refuses.
        """


class LocalJudge(Judge):
    """A vision-language model of transformers that is spoken to, frozen, decoded greedily.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout, as ``Qwen/Qwen2-VL-7B-Instruct``; its processor
            must have a chat template.
        frames: Frames that it is shown, spread over the video.
        length: Most tokens of a reply.
        device: Where the model runs, such as "cuda".

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Not a checkpoint of such a model, or a number that is not positive.
    """

    def __init__(
        self, checkpoint: str | Path, frames: int = 8, length: int = 256, device: str = "cpu"
    ) -> None:
        if min(frames, length) < 1:
            raise ValueError(f"LocalJudge's frames and length must be positive; got {frames} and {length}.")
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.name = str(checkpoint)
        if self.name.startswith((".", "/", "~")) and not (Path(self.name) / "config.json").is_file():
            raise FileNotFoundError(f"No vision-language model (config.json) in {self.name}. Check the path.")
        require_hub(self.name)
        try:
            self.model, found = AutoModelForImageTextToText.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                self.name, output_loading_info=True, dtype="auto", trust_remote_code=False
            )
            self.processor = AutoProcessor.from_pretrained(self.name, trust_remote_code=False)
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = " ".join(str(error).split()).split(". ")[0][:300]
            raise ValueError(
                f"{self.name!r} must be a vision-language model (id or folder): {reason}"
            ) from error
        if found["missing_keys"] or found["mismatched_keys"]:
            raise ValueError(
                f"{self.name!r} must hold a whole model; {len(found['missing_keys'])} tensors miss."
            )
        if not getattr(self.processor, "chat_template", None):
            raise ValueError(f"{self.name!r} must have a chat template to be asked; its processor has none.")
        self.model.requires_grad_(False).eval().to(device)
        self.frames, self.length = frames, length

    @torch.no_grad()
    def ask(self, frames: Float[Tensor, "T 3 H W"], question: str) -> str:
        """As `Judge.ask`."""
        shown = list(spread(frames, self.frames))
        content = [*({"type": "image"} for _ in shown), {"type": "text", "text": question}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        pictures = [_to_picture(frame) for frame in shown]
        inputs = self.processor(images=pictures, text=prompt, return_tensors="pt").to(self.model.device)
        written = self.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=self.length)
        reply = written[:, inputs["input_ids"].shape[1] :]
        return self.processor.batch_decode(reply, skip_special_tokens=True)[0]


class RemoteJudge(Judge):
    """A vision-language model behind an OpenAI-compatible address (``POST ADDRESS/chat/completions``).

    Args:
        address: Such as ``http://localhost:8000/v1``.
        model: The name that the server knows it by.
        key_variable: Environment variable that holds the key; it is read for each question, and neither kept
            nor written anywhere. Without a variable of that name no key is sent.
        frames: Frames that are shown, spread over the video, as png.
        length: Most tokens of a reply.
        seconds: Patience for one reply.
        retries: Further attempts when the server is busy, broken or out of reach.
        pause: Seconds before the first of them; doubled each time.

    Raises:
        ValueError: An address that is not http, or a number that is not positive.
    """

    def __init__(
        self,
        address: str,
        model: str,
        key_variable: str = "OPENAI_API_KEY",
        frames: int = 8,
        length: int = 256,
        seconds: float = 120.0,
        retries: int = 3,
        pause: float = 2.0,
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"A judge's address must begin with http:// or https://; got {address!r}.")
        if min(frames, length, seconds) <= 0 or min(retries, pause) < 0:
            raise ValueError(
                "RemoteJudge's frames, length and seconds must be positive, retries and pause not negative; "
                f"got {frames}, {length}, {seconds:g}, {retries} and {pause:g}."
            )
        self.name = f"{model} at {address}"
        self.address, self.model, self.key_variable = address.rstrip("/"), model, key_variable
        self.frames, self.length, self.seconds = frames, length, seconds
        self.retries, self.pause = retries, pause

    def ask(self, frames: Float[Tensor, "T 3 H W"], question: str) -> str:
        """As `Judge.ask`."""
        content = [{"type": "text", "text": question}]
        content += [
            {"type": "image_url", "image_url": {"url": _to_data_url(frame)}}
            for frame in spread(frames, self.frames)
        ]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": self.length,
        }
        answer = self._post(json.dumps(body).encode())
        try:
            reply = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            reply = None
        if not isinstance(reply, str):
            raise OSError(f"{self.name} must answer as chat/completions does; got {answer[:200]!r}.")
        return reply

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        trouble = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            request = urllib.request.Request(f"{self.address}/chat/completions", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=self.seconds) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                trouble = f"status {error.code}"
                error.close()
                if error.code not in (408, 409, 429) and error.code < 500:
                    hint = f" Is {self.key_variable} set?" if error.code in (401, 403) else ""
                    raise OSError(f"{self.name} refuses the question: {trouble}.{hint}") from None
            except (OSError, ValueError) as error:  # time out, no such host, a broken answer
                trouble = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise OSError(f"{self.name} gave no answer in {self.retries + 1} attempts: {trouble}.")


class Transcript(Judge):
    """Another judge, every question and reply of which is written down, and not asked again.

    One line of json per reply, appended as it comes, the frames by a digest of them. A run that was stopped
    and is started again reads what is there. It is a file for people to read, and no record of an evaluation.

    Args:
        judge: Who is asked.
        path: File of the lines (jsonl).
    """

    def __init__(self, judge: Judge, path: Path) -> None:
        self.judge, self.path = judge, path
        self.name = judge.name
        self.known = {_key(line): line["reply"] for line in _read_lines(path)}

    def ask(self, frames: Float[Tensor, "T 3 H W"], question: str) -> str:
        """As `Judge.ask`."""
        digest = hashlib.sha256(frames.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
        line = {"judge": self.name, "frames": digest, "question": question}
        if _key(line) not in self.known:
            line["reply"] = self.judge.ask(frames, question)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                if file.tell() and not _ends_line(file):
                    file.write(b"\n")  # the last one was cut off
                file.write(json.dumps(line).encode() + b"\n")
            self.known[_key(line)] = line["reply"]
        return self.known[_key(line)]


def spread(frames: Float[Tensor, "T 3 H W"], count: int) -> Float[Tensor, "N 3 H W"]:
    """At most so many frames, the middles of equal parts of the video."""
    length = len(frames)
    if length <= count:
        return frames
    return frames[[int((part + 0.5) * length / count) for part in range(count)]]


def _to_picture(frame: Float[Tensor, "3 H W"]) -> Image.Image:
    return Image.fromarray((frame * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def _to_data_url(frame: Float[Tensor, "3 H W"]) -> str:
    file = io.BytesIO()
    _to_picture(frame).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _read_lines(path: Path) -> list[dict[str, str]]:
    """Whole lines of a transcript; one that was cut off when a run was killed is left out."""
    found = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
            if all(isinstance(line[name], str) for name in ("judge", "frames", "question", "reply")):
                found.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _key(line: dict[str, str]) -> tuple[str, str, str]:
    return line["judge"], line["frames"], line["question"]


def _ends_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
