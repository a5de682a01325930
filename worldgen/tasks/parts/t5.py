"""Making a nano T5 by span corruption on captions, in the format that any T5 checkpoint has."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel, T5ForConditionalGeneration

from worldgen.files import replaced_folder
from worldgen.tasks.schedule import require_training, scheduled

SENTINELS = 16
PAD, END = 0, 1


class T5Task(LightningModule):
    """Span corruption (Raffel et al. 2020, 1910.10683, section 3.1.4): hidden spans are written out.

    The encoder and a byte-level tokenizer are exported in Hugging Face layout, so that `encoders.t5.T5`
    loads them as it loads any other T5.

    Args:
        dim: Width.
        layers: Encoder layers, and as many decoder layers.
        heads: Attention heads.
        vocabulary: Tokens, the bytes and sentinels among them.
        hidden: Share of tokens that is hidden.
        span: Mean length of a hidden span.
        lr: Peak of AdamW's rate.
        warmup: Steps.
    """

    def __init__(
        self,
        dim: int = 96,
        layers: int = 2,
        heads: int = 4,
        vocabulary: int = 512,
        hidden: float = 0.3,
        span: float = 2.0,
        lr: float = 3e-3,
        warmup: int = 50,
    ) -> None:
        super().__init__()
        require_training(lr, warmup)
        self.hidden, self.span, self.lr, self.warmup = hidden, span, lr, warmup
        self.vocabulary = vocabulary
        self.model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=vocabulary,
                d_model=dim,
                d_kv=dim // heads,
                d_ff=4 * dim,
                num_layers=layers,
                num_heads=heads,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
                pad_token_id=PAD,
                eos_token_id=END,
                decoder_start_token_id=PAD,
            )
        )
        self.tokenizer: PreTrainedTokenizerFast | None = None

    def setup(self, stage: str) -> None:
        """The tokenizer is learned from the training captions; the same captions give the same tokenizer."""
        if self.tokenizer is None:
            data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            self.tokenizer = train_tokenizer(data.captions(), self.vocabulary)

    def training_step(self, captions: tuple[str, ...], index: int) -> Float[Tensor, ""]:
        loss, accuracy = self._predict(captions, seed=self.global_step)
        self.log_dict(
            {"train/loss": loss, "train/accuracy": accuracy}, prog_bar=True, batch_size=len(captions)
        )
        return loss

    def validation_step(self, captions: tuple[str, ...], index: int) -> None:
        loss, accuracy = self._predict(captions, seed=index)
        self.log_dict({"val/loss": loss, "val/accuracy": accuracy}, prog_bar=True, batch_size=len(captions))

    def on_fit_end(self) -> None:
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.save(Path(self.trainer.log_dir) / "t5")

    def save(self, folder: str | Path) -> None:
        """Encoder and tokenizer, in Hugging Face layout; the folder appears whole or not at all."""
        encoder = T5EncoderModel(self.model.config)
        encoder.encoder.load_state_dict(self.model.encoder.state_dict())
        encoder.shared.load_state_dict(self.model.shared.state_dict())
        assert self.tokenizer is not None, "setup() makes the tokenizer"
        with replaced_folder(folder) as partial:
            encoder.save_pretrained(partial)
            self.tokenizer.save_pretrained(partial)

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.01)
        return scheduled(optimizer, self.warmup, self.trainer)

    def _predict(self, captions: tuple[str, ...], seed: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        assert self.tokenizer is not None, "setup() makes the tokenizer"
        generator = torch.Generator().manual_seed(seed)
        pairs = [
            corrupt_spans(tokens[:-1], self.hidden, self.span, self.vocabulary, generator)
            for tokens in self.tokenizer(list(captions))["input_ids"]  # pyright: ignore[reportGeneralTypeIssues]
        ]
        sources, targets = (_pad([pair[side] for pair in pairs]).to(self.device) for side in (0, 1))
        labels = targets.masked_fill(targets == PAD, -100)
        output = self.model(input_ids=sources, attention_mask=(sources != PAD).long(), labels=labels)
        right = (output.logits.argmax(dim=-1) == labels)[labels != -100].float().mean()
        return output.loss, right


def train_tokenizer(captions: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with T5's special tokens: any text can be written in it.

    Args:
        captions: Text to learn merges from.
        vocabulary: Size; the last ``SENTINELS`` tokens are T5's ``<extra_id_n>``, counted from the end.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - SENTINELS,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    # Few captions give few merges; fill up, so that sentinels always are the last tokens of the vocabulary.
    tokenizer.add_special_tokens(
        [f"<unused_{index}>" for index in range(vocabulary - SENTINELS - tokenizer.get_vocab_size())]
    )
    tokenizer.add_special_tokens([f"<extra_id_{index}>" for index in reversed(range(SENTINELS))])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],  # T5 has no token types
    )


def corrupt_spans(
    tokens: list[int], hidden: float, span: float, vocabulary: int, generator: torch.Generator
) -> tuple[list[int], list[int]]:
    """Source with hidden spans replaced by sentinels, and target that writes them out.

    Args:
        tokens: A caption without its end token.
        hidden: Share of tokens to hide; at least one is.
        span: Mean length of a hidden span.
        vocabulary: The last token is the first sentinel.
        generator: Source of the spans.
    """
    length = len(tokens)
    count = max(1, round(length * hidden))
    spans = max(1, min(SENTINELS, round(count / span), length - count))
    starts = torch.randperm(max(1, length - count + 1), generator=generator)[:spans].sort().values.tolist()
    cuts = [round(count * (index + 1) / len(starts)) for index in range(len(starts))]
    sizes = [end - begin for begin, end in zip([0, *cuts], cuts, strict=False)]
    source, target, position, shift = [], [], 0, 0
    for index, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        begin = start + shift  # starts were drawn among the tokens that stay
        sentinel = vocabulary - 1 - index
        source += [*tokens[position:begin], sentinel]
        target += [sentinel, *tokens[begin : begin + size]]
        position, shift = begin + size, shift + size
    return [*source, *tokens[position:], END], [*target, END]


def _pad(rows: list[list[int]]) -> Int[Tensor, "B L"]:
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD
    )
