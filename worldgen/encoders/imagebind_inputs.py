"""What ImageBind's towers read, from what a Clip holds; steps are those of the authors' ``data.py``."""

from __future__ import annotations

import gzip
import html
import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from worldgen.hub import require_hub
from worldgen.types import Clip

WINDOW = 2.0
"""Seconds of sound or video that one embedding is made of."""
RATE = 16_000
"""Samples of sound per second."""
IMU_RATE = 400
"""Samples per second: 2000 samples are the five seconds of Ego4D that the authors trained on."""

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_MEL_MEAN, _MEL_STD = -4.268, 9.138
_DISPARITY_MEAN, _DISPARITY_STD = 0.0418, 0.0295
_BASELINE, _FOCAL, _ROWS = 0.075, 520.0, 480
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def window_starts(seconds: float, windows: int) -> list[float]:
    """Where windows of two seconds start: evenly spaced, the first at zero; all at zero in a short clip.

    As PyTorchVideo's ``ConstantClipsPerVideoSampler``: ``k max(seconds - 2, 0) / windows``.
    """
    return [k * max(seconds - WINDOW, 0.0) / windows for k in range(windows)]


def prepare_pictures(frames: Float[Tensor, "N C H W"], size: int) -> Float[Tensor, "N C size size"]:
    """Shorter side to ``size`` (bicubic, antialiased), middle square cut out; values stay in [0, 1]."""
    small = resize(frames, [size], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    return center_crop(small, [size])


def prepare_vision(clip: Clip, windows: int, size: int) -> tuple[Tensor, Bool[Tensor, "B V"]]:
    """The first and the last frame of each window, resized and normalized.

    The authors cut three squares out of a video side by side; here it is the middle one, as for their images.
    A clip of one frame shows it twice.

    Returns:
        (B V 3 2 size size) and which windows differ from those before: a clip of at most two seconds has one.
        V is ``windows``, or 1 if no clip is longer.
    """
    count = clip.frames.shape[1]
    seconds = [count / fps for fps in clip.fps.tolist()]
    used = windows if max(seconds) > WINDOW else 1
    index = torch.tensor(
        [
            [_ends(start, fps, count) for start in window_starts(length, windows)[:used]]
            for fps, length in zip(clip.fps.tolist(), seconds, strict=True)
        ],
        device=clip.frames.device,
    )  # (B, V, 2)
    rows = torch.arange(len(clip), device=index.device)[:, None, None]
    pictures = prepare_pictures(clip.frames[rows, index].flatten(0, 2), size)
    mean, std = (torch.tensor(value, device=pictures.device)[:, None, None] for value in (_MEAN, _STD))
    tubes = ((pictures - mean) / std).unflatten(0, tuple(index.shape))  # (B, V, 2, 3, size, size)
    new = torch.tensor([[k == 0 or length > WINDOW for k in range(used)] for length in seconds])
    return tubes.transpose(2, 3), new.to(tubes.device)


def prepare_audio(
    sound: Float[Tensor, "B S"], windows: int, mel_bins: int, mel_frames: int, rate: int = RATE
) -> Float[Tensor, "B V 1 mel frames"]:
    """Log mel energies of each window: Kaldi's filter bank, 25 ms frames every 10 ms, normalized.

    Each frame loses its mean there, so that of the window, which the authors take off first, changes nothing.
    Frames that miss at the end of a window are 0 before normalization.

    Raises:
        ValueError: If the sound is not sampled at 16 kHz, or shorter than one frame of 25 ms.
    """
    if rate != RATE:
        raise ValueError(
            f"Sound must be sampled at {RATE} Hz; got {rate} Hz. Resample it: torchaudio.functional.resample."
        )
    least = RATE // 40
    if sound.shape[1] < least:
        raise ValueError(f"Sound must last 25 ms ({least} samples) or more; got {sound.shape[1]} samples.")
    starts = [int(start * RATE) for start in window_starts(sound.shape[1] / RATE, windows)]
    length = int(WINDOW * RATE)
    mels = [
        _mel(row[start : start + length], mel_bins, mel_frames)
        for row in sound.cpu().float()
        for start in starts
    ]
    stacked = torch.stack(mels).unflatten(0, (len(sound), windows))[:, :, None]
    return ((stacked - _MEL_MEAN) / _MEL_STD).to(sound.device)


def prepare_depth(clip: Clip, windows: int, size: int) -> Float[Tensor, "B V 1 size size"]:
    """Disparity of evenly spaced frames, normalized.

    The paper trains on disparity "for scale normalization" and its package has no code for it; these are the
    constants of the authors' OmniVore (2201.08377): depth within [0.01, 50] m, disparity
    ``0.075 m * focal / depth`` in pixels, at most 75, divided by 75, then mean 0.0418 and deviation 0.0295.
    The focal length is that of the clip's camera in a picture of 480 rows; 520 pixels (a Kinect) where
    there is no camera.
    """
    assert clip.depth is not None
    frames = clip.frames.shape[1]
    used = torch.linspace(0, frames - 1, min(windows, frames)).round().long()
    depth = clip.depth[:, used].clamp(0.01, 50.0)
    focal = torch.full_like(clip.fps, _FOCAL)
    if clip.camera is not None:
        focal = _ROWS / 2 / torch.tan(torch.deg2rad(clip.camera.fovy) / 2)
    focal = focal.to(depth)[:, None, None, None, None]
    disparity = (_BASELINE * focal / depth).clamp(max=75.0) / 75.0
    pictures = prepare_pictures(disparity.flatten(0, 1), size).unflatten(0, disparity.shape[:2])
    return (pictures - _DISPARITY_MEAN) / _DISPARITY_STD


def prepare_imu(clip: Clip, length: int) -> Float[Tensor, "B 6 S"]:
    """Accelerations and rates at 400 Hz, cut or filled up with zeros to ``length`` samples.

    The samples are taken to span the clip. The authors publish no normalization: units stay m/s^2 and rad/s.
    """
    assert clip.imu is not None
    signal = clip.imu.transpose(1, 2)  # (B, 6, S)
    rows = []
    for row, fps in zip(signal, clip.fps.tolist(), strict=True):
        samples = max(1, round(clip.frames.shape[1] / fps * IMU_RATE))
        resampled = F.interpolate(row[None], samples, mode="linear", align_corners=False)[0, :, :length]
        rows.append(F.pad(resampled, (0, length - resampled.shape[1])))
    return torch.stack(rows)


def prepare_text(prompts: tuple[str, ...], tokenizer: Tokenizer, context: int) -> Int[Tensor, "B context"]:
    """Token ids: start, prompt, end, and zeros.

    Raises:
        ValueError: If a prompt does not fit, where the authors would cut it off.
    """
    start, end = tokenizer.token_to_id(_START), tokenizer.token_to_id(_END)
    ids = torch.zeros(len(prompts), context, dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        words = tokenizer.encode(clean_text(prompt), add_special_tokens=False).ids
        if len(words) + 2 > context:
            raise ValueError(f"A prompt must be at most {context - 2} tokens; got {len(words)}. Shorten it.")
        row[: len(words) + 2] = torch.tensor([start, *words, end])
    return ids


def clean_text(text: str) -> str:
    """Text as CLIP and ImageBind were given it.

    Mended by ftfy, html resolved twice, one space between words, lower case: curly quotes become straight,
    ligatures and full-width forms plain letters, wrongly decoded bytes what they were meant to be.
    """
    from ftfy import fix_text

    text = html.unescape(html.unescape(fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()


def read_tokenizer(path: str | Path, vocabulary: int) -> Tokenizer:
    """CLIP's byte-pair tokenizer.

    Args:
        path: ``bpe_simple_vocab_16e6.txt.gz`` of CLIP or ImageBind (plain or gzipped), a ``tokenizer.json``,
            or a folder or hub id that transformers' ``CLIPTokenizerFast`` loads, such as
            ``openai/clip-vit-base-patch32``.
        vocabulary: Token ids that the model has.

    Raises:
        FileNotFoundError: If a file that is named is not there.
        ValueError: If it is not such a tokenizer, or is one for another number of tokens.
    """
    name = str(path)
    if name.endswith((".gz", ".txt", ".json")) and not Path(path).is_file():
        raise FileNotFoundError(f"The tokenizer must be a file that exists; {path} does not.")
    require_hub(name)
    try:
        if name.endswith((".gz", ".txt")):
            tokenizer = _read_merges(Path(path), vocabulary)
        elif name.endswith(".json"):
            tokenizer = Tokenizer.from_file(name)
        else:
            from transformers import CLIPTokenizerFast

            tokenizer = CLIPTokenizerFast.from_pretrained(name).backend_tokenizer
    except Exception as error:  # the libraries let through whatever their parts raise
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{name!r} must be CLIP's vocabulary file, or a CLIP tokenizer (id or folder): {reason}"
        ) from error
    tokenizer.normalizer = _normalizer()  # the authors compose no letters that html resolved
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # The text tower reads the prompt off the highest id.
    if tokenizer.token_to_id(_START) is None or tokenizer.token_to_id(_END) != vocabulary - 1:
        raise ValueError(
            f"The tokenizer must end with {_END} as token {vocabulary - 1}, as the model does; in {name} it "
            f"is {tokenizer.token_to_id(_END)}. Use the one that the model was trained with."
        )
    return tokenizer


def bpe_tokenizer(merges: list[tuple[str, str]]) -> Tokenizer:
    """CLIP's tokenizer from its merges: 256 bytes, the same at the end of a word, merges, start and end."""
    letters = _byte_letters()
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    pieces += [first + second for first, second in merges] + [_START, _END]
    tokens = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(tokens, merges, end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _normalizer() -> normalizers.Sequence:
    """What `clean_text` does, as far as a tokenizer can, for whoever uses its file alone."""
    return normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])


def _read_merges(path: Path, vocabulary: int) -> Tokenizer:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    lines = text.split("\n")[1 : vocabulary - 512 - 2 + 1]  # the first line names the version
    return bpe_tokenizer([_pair(line) for line in lines if line.strip()])


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split()
    return first, second


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in CLIP's order: printable bytes stand for themselves."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(256 - len(printable))]


def _ends(start: float, fps: float, count: int) -> tuple[int, int]:
    """First and last frame within a window."""
    first = min(math.ceil(start * fps - 1e-6), count - 1)
    last = math.ceil((start + WINDOW) * fps - 1e-6) - 1
    return first, max(first, min(last, count - 1))


def _mel(wave: Float[Tensor, " S"], mel_bins: int, mel_frames: int) -> Float[Tensor, "mel frames"]:
    from torchaudio.compliance.kaldi import fbank

    mel = fbank(
        wave[None],
        htk_compat=True,
        sample_frequency=RATE,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mel_bins,
        dither=0.0,
        frame_length=25,
        frame_shift=10,
    ).T[:, :mel_frames]
    return F.pad(mel, (0, mel_frames - mel.shape[1]))
