"""Making a nano ImageBind: every sense of a clip is bound to its frames."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from lightning.pytorch import LightningModule
from tokenizers import Tokenizer, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.utils import parametrize

from worldgen.audio import impact
from worldgen.data.cache.cache import Recipe, precompute, stack_columns
from worldgen.data.cache.precision import Columns, Float16
from worldgen.data.sources import ShardedClips
from worldgen.data.transforms import NoisyClips, add_imu
from worldgen.data.videos import VideoFolder
from worldgen.encoders import imagebind_inputs
from worldgen.encoders.imagebind_files import save_imagebind
from worldgen.encoders.imagebind_layers import ImageBindConfig, ImageBindModel
from worldgen.simulation import inertial
from worldgen.tasks.schedule import require_training, scheduled
from worldgen.types import Clip

DEPTH_FRAMES = 3
"""Frames of depth that are kept of a clip; a training step sees one of them."""
_CODE = hashlib.sha256("".join(map(inspect.getsource, (impact, inertial, imagebind_inputs))).encode())
"""What was computed once by other code is computed again."""


class ImageBindTask(LightningModule):
    """InfoNCE of every modality to vision (Girdhar et al. 2023, 2305.05665, eq. 1), and of no other pair.

    That sound and words of the same clip come to lie near each other, though never compared, is what the
    paper calls emergent; `worldgen retrieve` measures it. There vision and text are CLIP's, and frozen; here
    nothing is pretrained, so that all towers learn. Sound and inertial signals are made from a clip's
    contacts and scene (`audio.impact`, `simulation.inertial`). What the towers read is computed once. A clip
    that lacks a sense, or is silent, is left out of that sense's loss; clips with the same caption are not
    told apart by it.

    Args:
        config: Sizes; thermal must be None, which no clip has. Its vocabulary decides how many merges the
            tokenizer, CLIP's kind, learns from the training captions.
        lr: Peak of AdamW's rate.
        warmup: Steps.
        weight_decay: AdamW's, of matrices.
        cache: Folder for what the towers read of the training clips.
    """

    def __init__(
        self,
        config: ImageBindConfig,
        lr: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.05,
        cache: Path = Path("outputs/cache"),
    ) -> None:
        super().__init__()
        require_training(lr, warmup, weight_decay)
        self.bound: tuple[str, ...] = tuple(name for name in config.modalities if name != "vision")
        if not self.bound or "thermal" in self.bound:
            raise ValueError(
                f"ImageBind is trained on vision and some of text, audio, depth and imu; got "
                f"{config.modalities}. Set the others to null."
            )
        self.model = ImageBindModel(config)
        self.lr, self.warmup, self.weight_decay, self.cache = lr, warmup, weight_decay, cache
        self.tokenizer: Tokenizer | None = None
        for name in self.bound:  # the published model learned the text's temperature alone
            scale = self.model.modality_postprocessors[name].get_submodule("1")
            del scale.log_logit_scale
            scale.log_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

        if "depth" in self.bound:
            kernels = self.model.modality_preprocessors["depth"].get_submodule("depth_stem.proj")
            parametrize.register_parametrization(kernels, "weight", _Contrast())

    def setup(self, stage: str) -> None:
        """Learn the tokenizer, and compute what the towers read."""
        if stage != "fit":
            return
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        source = data.train_source(skip=("masks",))
        if self.tokenizer is None and "text" in self.bound:
            self.tokenizer = train_bpe_tokenizer(_captions(source), self.model.config.vocabulary)
        views = precompute(source, self.encode, self.cache, self.recipe(), Float16())
        data.train_on(views, stack_columns)

    def recipe(self) -> Recipe:
        """All that the kept inputs depend on."""
        vocabulary = "" if self.tokenizer is None else self.tokenizer.to_str()
        return Recipe(
            {"tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest()[:12]},
            {"imagebind": json.dumps(asdict(self.model.config)), "code": _CODE.hexdigest()[:12]},
        )

    @torch.no_grad()
    def encode(self, clip: Clip) -> Columns:
        """What the towers read: vision (B 3 2 H W), which modalities are there (B M), then each of these.

        A sense that is missing is zeros.
        """
        config, clip = self.model.config, add_imu(impact.add_sound(clip))
        vision, _ = imagebind_inputs.prepare_vision(clip, 1, config.image_size)
        columns, there = [], []
        for name in self.bound:
            x, real = self._prepare(clip, name)
            columns.append(x)
            there.append(real)
        return (vision[:, 0], torch.stack(there, dim=1), *columns)

    def training_step(self, batch: Columns, index: int) -> Float[Tensor, ""]:
        # Randomness belongs to the step, so that a resumed run draws what an uninterrupted one would have
        # drawn.
        generator = torch.Generator(self.device).manual_seed(self.global_step)
        losses, _ = self._compare(batch, generator)
        if not losses:  # nobody in this batch hears, reads or feels anything
            nothing = torch.zeros((), device=self.device)
            return sum((parameter.sum() for parameter in self.parameters()), nothing) * 0.0
        loss = torch.stack([*losses.values()]).mean()
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return loss

    def validation_step(self, clip: Clip, index: int) -> None:
        batch = tuple(column.to(self.device) for column in self.encode(clip))
        losses, logits = self._compare(batch, torch.Generator(self.device).manual_seed(index))
        for name, value in losses.items():
            found = (
                logits[name].argmax(dim=0) == torch.arange(len(logits[name]), device=self.device)
            ).float()
            self.log(f"val/{name}", value, batch_size=len(clip))
            self.log(f"val/recall1_{name}", found.mean(), prog_bar=True, batch_size=len(clip))
        if losses:
            self.log("val/loss", torch.stack([*losses.values()]).mean(), batch_size=len(clip))

    def on_fit_end(self) -> None:
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.save(Path(self.trainer.log_dir) / "imagebind")

    def save(self, folder: str | Path) -> None:
        """A folder that `encoders.imagebind.ImageBind` loads, in half precision."""
        plain = ImageBindModel(self.model.config)
        with torch.no_grad():
            for name, value in plain.state_dict().items():
                path, _, last = name.rpartition(".")
                value.copy_(getattr(self.model.get_submodule(path), last))
        save_imagebind(plain.half(), folder, self.tokenizer)

    def configure_optimizers(self) -> dict:
        matrices = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.parameters() if parameter.ndim <= 1]
        groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), weight_decay=self.weight_decay)
        return scheduled(optimizer, self.warmup, self.trainer)

    def _compare(
        self, batch: Columns, generator: torch.Generator
    ) -> tuple[dict[str, Float[Tensor, ""]], dict[str, Float[Tensor, "_ _"]]]:
        """Loss of each modality, and the logits of vision against it, of the clips that have it."""
        vision, there, *others = batch
        seen = self.model("vision", vision)
        losses, found = {}, {}
        for place, (name, x) in enumerate(zip(self.bound, others, strict=True)):
            keep = there[:, place]
            if int(keep.sum()) < 2:
                continue
            x = x[keep]
            if name == "depth":
                frame = torch.randint(x.shape[1], (len(x),), generator=generator, device=x.device)
                x = x[torch.arange(len(x), device=x.device), frame]
            logits = seen[keep] @ self.model(name, x).T
            same = (x[:, None] == x[None]).all(dim=-1) if name == "text" else None
            losses[name], found[name] = info_nce(logits, same), logits
        return losses, found

    def _prepare(self, clip: Clip, name: str) -> tuple[Tensor, Bool[Tensor, " B"]]:
        """What one tower reads of each clip, and which clips have it."""
        config, count = self.model.config, len(clip)
        nobody, everybody = (torch.full((count,), value) for value in (False, True))
        if name == "text":
            assert self.tokenizer is not None, "setup() makes the tokenizer"
            prompts = imagebind_inputs.prepare_text(clip.prompts, self.tokenizer, config.context)
            return prompts, torch.tensor([bool(prompt.strip()) for prompt in clip.prompts])
        if name == "audio":
            if clip.sound is None:
                return torch.zeros(count, 1, config.mel_bins, config.mel_frames), nobody
            mel = imagebind_inputs.prepare_audio(clip.sound, 1, config.mel_bins, config.mel_frames)
            return mel[:, 0], clip.sound.abs().amax(dim=1) > 0
        if name == "depth":
            size = config.image_size
            if clip.depth is None:
                return torch.zeros(count, DEPTH_FRAMES, 1, size, size), nobody
            depth = imagebind_inputs.prepare_depth(clip, DEPTH_FRAMES, size)
            # A clip shorter than that shows its frames again.
            return depth[:, torch.arange(DEPTH_FRAMES) % depth.shape[1]], everybody
        if clip.imu is None:
            return torch.zeros(count, 6, config.imu_length), nobody
        return imagebind_inputs.prepare_imu(clip, config.imu_length), everybody


class _Contrast(nn.Module):
    """Kernels whose numbers add up to zero.

    Where everything is twelve metres away, disparity is one large number and little beside it; kernels that
    see the large one see nothing else, and each step of training would make them see it.
    """

    def forward(self, kernels: Float[Tensor, "out ..."]) -> Float[Tensor, "out ..."]:
        return kernels - kernels.mean(dim=(1, 2, 3), keepdim=True)


def info_nce(logits: Float[Tensor, "K K"], same: Bool[Tensor, "K K"] | None = None) -> Float[Tensor, ""]:
    """Mean cross entropy of choosing the right column for each row, and the right row for each column.

    ``-log(exp l_ii / sum_j exp l_ij)``, van den Oord et al. 2018, 1807.03748, eq. 4.

    Args:
        logits: Scaled cosines; what belongs together is on the diagonal.
        same: True where row and column cannot be told apart: off the diagonal these are no candidates.
    """
    if same is not None:
        others = ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(same & others, -torch.inf)
    right = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def train_bpe_tokenizer(captions: list[str], vocabulary: int) -> Tokenizer:
    """CLIP's kind of byte-pair tokenizer, with merges learned from captions.

    Args:
        captions: Text to learn from.
        vocabulary: Token ids: 512 for bytes within and at the end of words, merges, start and end.

    Raises:
        ValueError: A vocabulary without a merge, or captions that do not give as many.
    """
    learner = imagebind_inputs.bpe_tokenizer([])
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocabulary, 0),
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(map(imagebind_inputs.clean_text, captions), trainer)
    learned = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    wanted = vocabulary - 514
    if not 0 < wanted <= len(learned):
        raise ValueError(
            f"The vocabulary must hold 514 tokens and at least one merge, and at most the {len(learned)} "
            f"merges that these captions give; got {vocabulary}. Choose 515 to {514 + len(learned)}."
        )
    return imagebind_inputs.bpe_tokenizer(learned[:wanted])


def _captions(source: ShardedClips | VideoFolder | NoisyClips) -> list[str]:
    if isinstance(source, NoisyClips):
        source = source.source
    if isinstance(source, ShardedClips):
        return [entry.caption for entry in source.index.entries]
    return [source.caption(number) for number in range(len(source))]
