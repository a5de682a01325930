import gzip
import json
import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from torch.testing import assert_close
from torchaudio.compliance.kaldi import fbank
from torchvision import transforms
from transformers import CLIPTokenizer

from worldgen.encoders.imagebind_inputs import (
    bpe_tokenizer,
    clean_text,
    prepare_audio,
    prepare_depth,
    prepare_imu,
    prepare_text,
    prepare_vision,
    read_tokenizer,
    window_starts,
)
from worldgen.types import Camera, Clip

MERGES = [("b", "a"), ("l", "l</w>"), ("ba", "ll</w>"), ("r", "e"), ("re", "d</w>"), ("Ã", "©</w>")]
VOCABULARY = 512 + len(MERGES) + 2


# ---------------------------------------------------------------- what the towers read


def test_pictures_are_prepared_as_the_authors_prepare_images():
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 30, 50, generator=draw) * 0.5 + 0.25
    frame = F.interpolate(coarse, (300, 500))  # edges, where filters differ
    image = Image.fromarray((frame[0].permute(1, 2, 0) * 255).round().byte().numpy())
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    steps = [transforms.Resize(224, Image.BICUBIC), transforms.CenterCrop(224), transforms.ToTensor()]
    expected = transforms.Compose([*steps, transforms.Normalize(mean, std)])(image)
    exact = transforms.ToTensor()(image)[None, None]
    tubes, real = prepare_vision(Clip(exact, torch.ones(1), ("",)), 3, 224)
    assert tubes.shape == (1, 1, 3, 2, 224, 224) and real.tolist() == [[True]]
    for shown in tubes[0, 0].unbind(dim=1):  # a clip of one frame shows it twice
        assert_close(shown, expected, atol=2 / 255 / min(std), rtol=0)  # Pillow rounds twice


def test_windows_show_their_first_and_last_frame():
    # Each frame has its own gray: t / 100 at 10 frames a second.
    gray = torch.arange(50) / 100
    frames = gray[None, :, None, None, None].expand(2, -1, 3, 32, 32).contiguous()
    tubes, real = prepare_vision(Clip(frames, torch.tensor([10.0, 25.0]), ("", "")), 3, 32)
    shown = tubes[:, :, 0].mean(dim=(-1, -2)) * 0.26862954 + 0.48145466  # (B, V, 2)
    assert_close(shown[0] * 100, torch.tensor([[0.0, 19], [10, 29], [20, 39]]), atol=1e-3, rtol=0)
    assert_close(shown[1, 0] * 100, torch.tensor([0.0, 49]), atol=1e-3, rtol=0)
    assert real.tolist() == [[True, True, True], [True, False, False]]
    assert window_starts(1.5, 3) == [0, 0, 0] and window_starts(8.0, 3) == [0, 2, 4]


def test_sound_becomes_kaldi_mel_energies():
    sound = torch.rand(2, 80_000, generator=torch.Generator().manual_seed(0)) - 0.3
    mels = prepare_audio(sound, 3, 128, 204)
    assert mels.shape == (2, 3, 1, 128, 204)
    wave = sound[1, 16_000:48_000]  # windows of 5 s start at 0, 1 and 2 s
    expected = fbank(
        (wave - wave.mean())[None],
        htk_compat=True,
        sample_frequency=16_000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_length=25,
        frame_shift=10,
    )
    assert expected.shape == (198, 128)
    assert_close(mels[1, 1, 0, :, :198] * 9.138 - 4.268, expected.T, atol=1e-4, rtol=1e-4)
    assert_close(mels[..., 198:] * 9.138 - 4.268, torch.zeros(2, 3, 1, 128, 6), atol=1e-5, rtol=0)


def test_sound_of_another_rate_or_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must be sampled at 16000 Hz; got 44100 Hz. Resample it"):
        prepare_audio(torch.zeros(1, 4000), 3, 32, 204, rate=44_100)
    with pytest.raises(ValueError, match="must last 25 ms .400 samples. or more; got 399"):
        prepare_audio(torch.zeros(1, 399), 3, 32, 204)


def test_depth_becomes_normalized_disparity():
    frames, depth = (
        torch.zeros(2, 5, 3, 32, 32),
        torch.ones(2, 5, 1, 32, 32) * torch.tensor([2.0, 1e-4])[:, None, None, None, None],
    )
    clip = Clip(frames, torch.ones(2), ("", ""), depth=depth)
    found = prepare_depth(clip, 3, 32)
    assert found.shape == (2, 3, 1, 32, 32)
    assert_close(
        found[0], torch.full_like(found[0], (0.075 * 520 / 2 / 75 - 0.0418) / 0.0295), atol=1e-3, rtol=0
    )
    assert_close(found[1], torch.full_like(found[1], (1 - 0.0418) / 0.0295), atol=1e-3, rtol=0)
    camera = Camera(torch.zeros(2, 3), torch.eye(3).expand(2, 3, 3), torch.full((2,), 90.0))
    near = prepare_depth(replace(clip, camera=camera), 3, 32)[0]
    assert_close(near, torch.full_like(near, (0.075 * 240 / 2 / 75 - 0.0418) / 0.0295), atol=1e-3, rtol=0)


def test_what_is_nearer_than_disparity_tells_is_cut_before_pictures_are_resized():
    depth = torch.full((1, 1, 1, 64, 64), 3.0)
    depth[..., :21] = 0.075 * 520 / 75
    clip = Clip(torch.zeros(1, 1, 3, 64, 64), torch.ones(1), ("",), depth=depth)
    nearer = replace(clip, depth=torch.where(depth < 3, 0.02, depth))
    assert_close(prepare_depth(nearer, 1, 32), prepare_depth(clip, 1, 32), atol=1e-4, rtol=0)


def test_depth_frames_are_spread_over_the_clip():
    depth = (1 + torch.arange(9.0))[None, :, None, None, None].expand(1, -1, 1, 32, 32).contiguous()
    clip = Clip(torch.zeros(1, 9, 3, 32, 32), torch.ones(1), ("",), depth=depth)
    disparity = prepare_depth(clip, 3, 32).mean(dim=(2, 3, 4)) * 0.0295 + 0.0418
    assert_close(0.075 * 520 / 75 / disparity, torch.tensor([[1.0, 5.0, 9.0]]), atol=1e-3, rtol=1e-3)


def test_inertial_signals_are_resampled_to_400_hz():
    t = (torch.arange(200) + 0.5) / 200  # one second at 200 Hz
    signal = torch.sin(6 * t)[None, :, None] * torch.arange(1.0, 7)
    clip = Clip(torch.zeros(1, 10, 3, 4, 4), torch.full((1,), 10.0), ("",), imu=signal)
    found = prepare_imu(clip, 600)
    assert found.shape == (1, 6, 600)
    expected = torch.sin(6 * (torch.arange(400) + 0.5) / 400) * torch.arange(1.0, 7)[:, None]
    assert_close(found[0, :, 1:399], expected[:, 1:399], atol=1e-2, rtol=0)
    assert_close(found[0, :, 400:], torch.zeros(6, 200))
    assert_close(prepare_imu(clip, 160)[0], found[0, :, :160])


# ---------------------------------------------------------------- prompts


def write_merges(path):
    content = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in MERGES)]).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP tokenizer in transformers' own layout."""
    path = tmp_path_factory.mktemp("clip")
    tokens = bpe_tokenizer(MERGES).get_vocab()
    (path / "vocab.json").write_text(json.dumps(tokens))
    (path / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in MERGES)]))
    CLIPTokenizer(str(path / "vocab.json"), str(path / "merges.txt")).save_pretrained(path)
    return path


def test_tokens_equal_transformers(clip_folder, tmp_path):
    reference = CLIPTokenizer.from_pretrained(clip_folder)
    paths = (write_merges(tmp_path / "bpe.txt.gz"), write_merges(tmp_path / "bpe.txt"), clip_folder)
    for path in paths:
        tokenizer = read_tokenizer(path, VOCABULARY)
        for prompt in ("A red   ball!", "ball's 12 balls", "", "über café"):
            expected = reference(prompt)["input_ids"]
            found = prepare_text((prompt,), tokenizer, 40)[0]
            assert found.tolist() == expected + [0] * (40 - len(expected)), (path, prompt)
    assert len(prepare_text(("red ball",), tokenizer, 40)[0].nonzero()) == 4, "merges are used"


CLEAN = {
    "a &amp;amp; b": "a & b",
    "\u201cIt\u2019s\u201d a \u2018ball\u2019": "\"it's\" a 'ball'",
    "the \ufb01rst \ufb02ash": "the first flash",
    "\uff32\uff25\uff24 \uff42\uff41\uff4c\uff4c\uff11": "red ball1",
    "&lt;b&gt;ball&lt;/b&gt; &quot;x&quot;": '<b>ball</b> "x"',
    "caf\u00c3\u00a9": "caf\u00e9",
    "schÃ¶n â€” rund": "schön — rund",
    "cafe\u0301 <e&#769;>": "caf\u00e9 <e\u0301>",
    " a\u3000b\x1cc\r\nd\u00a0 e\u2028f ": "a bc d e f",
    "\x1b[31mred\x1b[0m": "red",
    "ΟΔΟΣ İ": "οδος i\u0307",
    "": "",
}


@pytest.mark.parametrize("text", CLEAN)
def test_text_is_cleaned_as_the_authors_clean_it(text):
    assert clean_text(text) == CLEAN[text]
    tokenizer = bpe_tokenizer(MERGES)
    plain = tokenizer.encode(CLEAN[text], add_special_tokens=False).ids
    assert prepare_text((text,), tokenizer, 40)[0].tolist()[1 : len(plain) + 1] == plain


def test_tokens_equal_the_official_ones(official, tmp_path):
    merges = write_merges(tmp_path / "bpe.txt.gz")
    theirs, ours = official.inputs.SimpleTokenizer(str(merges)), read_tokenizer(merges, VOCABULARY)
    drawn = random.Random(0)
    letters = "aE 1'.\u2019\u201c\ufb01\uff32\u00e9\u0301\u00c3\u00a9&;<\u3000\n\u00ad\u0130\u03a3日🎾"
    for text in [*CLEAN, *("".join(drawn.choices(letters, k=12)) for _ in range(300))]:
        if not text.startswith("\u0301"):
            assert prepare_text((text,), ours, 77)[0].tolist() == theirs(text).tolist(), repr(text)


def test_long_prompts_and_wrong_tokenizers_are_refused(clip_folder, tmp_path):
    tokenizer = read_tokenizer(write_merges(tmp_path / "bpe.txt.gz"), VOCABULARY)
    with pytest.raises(ValueError, match="A prompt must be at most 22 tokens; got 30. Shorten it."):
        prepare_text(("ball " * 30,), tokenizer, 24)
    with pytest.raises(ValueError, match="must end with <|endoftext|> as token 599"):
        read_tokenizer(clip_folder, 600)
    with pytest.raises(FileNotFoundError, match="must be a file that exists"):
        read_tokenizer(tmp_path / "none.txt.gz", VOCABULARY)
    (tmp_path / "bad.txt.gz").write_bytes(b"not gzipped")
    with pytest.raises(ValueError, match="must be CLIP's vocabulary file"):
        read_tokenizer(tmp_path / "bad.txt.gz", VOCABULARY)
    assert isinstance(tokenizer, Tokenizer)
