"""Language models that write prompts out: one that lies here, or one behind an address."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import torch

from worldgen.generation.words.expanding import Expansion, compare, require_prompt

_ASKED = (
    "Write the prompt out as one caption of a video, of at most 100 words: what is there and where, what "
    "happens, in order, and how it is filmed. Keep every word of the prompt that means something. Answer "
    "with the caption alone."
)
_EXAMPLE = (
    "a red ball falls",
    "The clip shows a red rubber ball in the middle of the picture. At first, the red ball falls. "
    "After about 0.4 seconds, it hits the floor and bounces to about three quarters of its former height. "
    "A fixed camera films the scene from the side, slightly from above, before a white wall and a floor.",
)
_MOST = 2000
"""Letters of a caption."""


class LocalWriter:
    """A causal language model of transformers, decoded greedily: the same prompt gives the same words.

    Args:
        checkpoint: Folder in Hugging Face layout (safetensors), or a file ``.gguf``.
        length: Most tokens of a caption.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: Not a checkpoint of such a model, or GGUF without the package that reads it.
    """

    def __init__(self, checkpoint: Path, length: int = 192) -> None:
        self.name, self.length = str(checkpoint), length
        gguf = checkpoint.name if checkpoint.suffix == ".gguf" else None
        if not (checkpoint if gguf else checkpoint / "config.json").is_file():
            raise FileNotFoundError(
                f"No language model (config.json, or a file .gguf) at {checkpoint}. Check the path."
            )
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.import_utils import is_gguf_available

        if gguf and not is_gguf_available():
            raise ValueError(f"{checkpoint} needs the package gguf, which is missing. Run: pip install gguf.")
        place = checkpoint.parent if gguf else checkpoint
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=gguf, trust_remote_code=False)
            self.model, found = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                place,
                gguf_file=gguf,
                output_loading_info=True,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=None if gguf else True,
            )
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = " ".join(str(error).split()).split(". ")[0][:300]
            raise ValueError(f"{checkpoint} must be a causal language model: {reason}.") from error
        if found["missing_keys"] or found["mismatched_keys"]:
            raise ValueError(
                f"{checkpoint} must hold a whole model; {len(found['missing_keys'])} tensors miss."
            )
        self.model.requires_grad_(False).eval()

    @torch.no_grad()
    def write(self, prompt: str) -> Expansion:
        """As `Writer.write`."""
        prompt = require_prompt(prompt)
        if self.tokenizer.chat_template:
            asked = self.tokenizer.apply_chat_template(
                _messages(prompt), add_generation_prompt=True, tokenize=False
            )
        else:
            asked = f"{_ASKED}\n\nPrompt: {_EXAMPLE[0]}\nCaption: {_EXAMPLE[1]}\n\nPrompt: {prompt}\nCaption:"
        inputs = self.tokenizer(asked, return_tensors="pt", return_token_type_ids=False)
        count = inputs["input_ids"].shape[1]
        most = getattr(self.model.config, "max_position_embeddings", None) or count + self.length
        if count >= most:
            raise ValueError(
                f"{self.name} reads at most {most} tokens, and the prompt with its question has {count}. "
                "Use another model."
            )
        self.model.generation_config.temperature = None
        self.model.generation_config.top_p = self.model.generation_config.top_k = None
        written = self.model.generate(
            **inputs, do_sample=False, num_beams=1, max_new_tokens=min(self.length, most - count)
        )
        reply = self.tokenizer.decode(written[0, count:], skip_special_tokens=True)
        return compare(prompt, require_caption(reply, self.name))


class RemoteWriter:
    """A language model behind an OpenAI-compatible address (``POST ADDRESS/chat/completions``).

    Args:
        address: Such as ``http://localhost:8000/v1``.
        model: The name that the server knows it by.
        key_variable: Environment variable that holds the key; it is neither kept nor written anywhere.
        seconds: Patience for the answer.

    Raises:
        ValueError: An address that is not http.
    """

    def __init__(
        self, address: str, model: str, key_variable: str = "OPENAI_API_KEY", seconds: float = 60.0
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"--endpoint must begin with http:// or https://; got {address!r}.")
        self.address, self.model = address.rstrip("/"), model
        self.key_variable, self.seconds = key_variable, seconds

    def write(self, prompt: str) -> Expansion:
        """As `Writer.write`."""
        prompt = require_prompt(prompt)
        body = {"model": self.model, "messages": _messages(prompt), "temperature": 0, "max_tokens": 256}
        answer = self._post(json.dumps(body).encode())
        try:
            reply = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            reply = None
        if not isinstance(reply, str):
            shown = answer[:100].decode(errors="replace")
            raise ValueError(f"{self.address} must answer as chat/completions does; got {shown!r}.")
        return compare(prompt, require_caption(reply, self.address))

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            request = urllib.request.Request(f"{self.address}/chat/completions", body, headers)
            with urllib.request.urlopen(request, timeout=self.seconds) as answer:
                return answer.read(1_000_000)
        except urllib.error.HTTPError as error:
            error.close()
            hint = f" Is {self.key_variable} set?" if error.code in (401, 403) else ""
            raise OSError(f"{self.address} refuses with status {error.code}.{hint}") from None
        except (OSError, ValueError) as error:  # time out, no such host, a broken answer
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
            raise OSError(f"{self.address} gave no answer within {self.seconds:g} s: {reason}.") from None
        except Exception as error:  # http.client's own kinds
            raise OSError(f"{self.address} gave no answer that is HTTP: {type(error).__name__}.") from None


def require_caption(reply: str, name: str) -> str:
    """The caption in a reply, on one line: its first paragraph, without quotes and a heading.

    Raises:
        ValueError: It is no sentence of plain words: the model is not one that writes.
    """
    text = re.sub(r"<think>.*?</think>", "", reply, flags=re.DOTALL).strip()
    text = " ".join(text.split("\n\n")[0].split("\nPrompt:")[0].split())
    text = re.sub(r"^\**caption\**:\**\s*", "", text, flags=re.IGNORECASE).strip("\"'“” ")
    words = re.findall(r"[^\W\d_]{2,}", text)
    letters = sum(character.isalpha() or character == " " for character in text)
    told = len(set(word.lower() for word in words))
    rubbish = len(words) < 3 or letters < 0.7 * len(text) or "\ufffd" in text or 4 * told < len(words)
    if rubbish or len(text) > _MOST:
        raise ValueError(f"{name} must answer with a caption in plain words; got {text[:80]!r}.")
    return text


def _messages(prompt: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": _ASKED},
        {"role": "user", "content": _EXAMPLE[0]},
        {"role": "assistant", "content": _EXAMPLE[1]},
        {"role": "user", "content": prompt},
    ]
