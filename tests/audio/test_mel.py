import math

import numpy as np
import pytest
import torch

from worldgen.audio.mel import GriffinLim, HifiGan, MelScale, MelVoice, SpeechT5, log_mel, mel_bands
from worldgen.audio.voice import load_voice

LETTERS = "abcdefghijklmnopqrstuvwxyz'.,"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small random SpeechT5 and its HiFi-GAN, as transformers keeps them."""
    spm = pytest.importorskip("sentencepiece", reason="its tokenizer is sentencepiece's (extra speech)")
    from transformers import (
        SpeechT5Config,
        SpeechT5ForTextToSpeech,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
        SpeechT5Tokenizer,
    )

    acoustic, vocoder = tmp_path_factory.mktemp("speecht5"), tmp_path_factory.mktemp("hifigan")
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS)] * 20), model_prefix=str(acoustic / "spm_char"),
        model_type="char", vocab_size=40, hard_vocab_limit=False, pad_id=1, unk_id=3, bos_id=0, eos_id=2,
        minloglevel=2,
    )  # fmt: skip
    tokenizer = SpeechT5Tokenizer(str(acoustic / "spm_char.model"))
    tokenizer.save_pretrained(acoustic)
    torch.manual_seed(0)
    config = SpeechT5Config(
        vocab_size=len(tokenizer), hidden_size=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, decoder_ffn_dim=16, conv_dim=[16],
        conv_kernel=[3], conv_stride=[2], speech_decoder_prenet_units=16, speech_decoder_postnet_units=16,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, speaker_embedding_dim=8,
        max_text_positions=60,
    )  # fmt: skip
    SpeechT5ForTextToSpeech(config).save_pretrained(acoustic)
    SpeechT5HifiGan(SpeechT5HifiGanConfig(upsample_initial_channel=16)).save_pretrained(vocoder)
    return acoustic, vocoder


def test_two_stages_are_transformers_own_chain(folders):
    from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5Tokenizer

    acoustic, vocoder = folders
    model = SpeechT5ForTextToSpeech.from_pretrained(acoustic).eval()
    given = SpeechT5Tokenizer.from_pretrained(acoustic)("two balls", return_tensors="pt")["input_ids"]
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(7)
        gan = SpeechT5HifiGan.from_pretrained(vocoder).eval()
        expected = model.generate_speech(given, torch.full((1, 8), 8**-0.5), vocoder=gan)
    voice = MelVoice(SpeechT5(str(acoustic)), HifiGan(str(vocoder)))
    torch.testing.assert_close(voice._say("two balls", 7, 1.0).sound, expected.clamp(-1, 1))


def test_a_stage_is_swapped_in_yaml(folders, tmp_path):
    (tmp_path / "voice.yaml").write_text(
        "class_path: worldgen.audio.mel.MelVoice\ninit_args:\n"
        f"  acoustic: {{class_path: worldgen.audio.mel.SpeechT5, init_args: {{checkpoint: {folders[0]}}}}}\n"
        "  vocoder: {class_path: worldgen.audio.mel.GriffinLim, init_args: {steps: 2}}\n"
    )
    voice = load_voice(str(tmp_path / "voice.yaml"))
    assert isinstance(voice, MelVoice) and isinstance(voice.vocoder, GriffinLim)
    assert [word.text for word in voice.speak("2 balls").words] == ["two", "balls"]


def test_the_speaker_is_heard_and_must_fit(folders, tmp_path):
    vector = tmp_path / "speaker.npy"
    np.save(vector, np.arange(8, dtype=np.float32))
    own, other = SpeechT5(str(folders[0])), SpeechT5(str(folders[0]), str(vector))
    assert not torch.equal(own.predict("ball", 0), other.predict("ball", 0))
    np.save(vector, np.arange(3, dtype=np.float32))
    with pytest.raises(ValueError, match=r"speaker must hold 8 finite numbers; .* has \(3,\)"):
        SpeechT5(str(folders[0]), str(vector))


def test_bad_checkpoints_and_long_texts_are_one_sentence(folders, tmp_path):
    with pytest.raises(ValueError, match="must be a SpeechT5HifiGan"):
        HifiGan(str(tmp_path))
    with pytest.raises(ValueError, match="must be a SpeechT5 of text to speech"):
        SpeechT5(str(tmp_path))
    with pytest.raises(ValueError, match="reads 60 letters at once; got 10[0-9]"):
        SpeechT5(str(folders[0])).predict("a" * 100, 0)


def test_stages_must_mean_the_same_mel():
    other = GriffinLim()
    other.scale = MelScale(rate=22_050)
    acoustic = object.__new__(SpeechT5)
    acoustic.scale = MelScale()
    with pytest.raises(ValueError, match="the same mel; got 80 bands at 16000 Hz and 80 at 22050"):
        MelVoice(acoustic, other)


def test_the_mel_is_the_one_that_speecht5_was_trained_with():
    from transformers import SpeechT5FeatureExtractor

    sound = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    theirs = SpeechT5FeatureExtractor()(audio_target=sound.numpy(), sampling_rate=16_000, return_tensors="pt")
    torch.testing.assert_close(
        log_mel(sound, MelScale()), theirs["input_values"][0].float(), atol=2e-3, rtol=0
    )


def test_griffin_lim_gives_back_what_can_be_heard():
    scale, t = MelScale(), torch.arange(16_000) / 16_000
    sound = 0.3 * torch.sin(2 * math.pi * 440 * t) + 0.2 * torch.sin(2 * math.pi * 1500 * t)
    again = GriffinLim().synthesize(log_mel(sound, scale))
    assert len(again) == scale.hop * (len(log_mel(sound, scale)) - 1)
    spectrum = torch.fft.rfft(again[4000:12_000]).abs()
    peaks = spectrum.topk(30).indices * 16_000 / 8000
    assert {round(peak / 20) * 20 for peak in peaks.tolist()} >= {440, 1500}


def test_bands_cover_the_range():
    bands = mel_bands(MelScale())
    assert bands.shape == (80, 513)
    assert (bands.sum(dim=1) > 0).all()
