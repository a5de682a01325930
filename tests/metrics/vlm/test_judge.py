"""Judges: a tiny random model in its own format, a server of our own, and what may be read from a reply."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tests.metrics.vlm.parrot import Parrot, colors
from worldgen.metrics.vlm.judge import LocalJudge, RemoteJudge, Transcript, spread

WORDS = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "1", "2", "3", "4", "5", "Yes", "No", "ball", "why?")
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(0)
    tiny = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "initializer_range": 0.6,
    }  # fmt: skip
    config = LlavaConfig(
        CLIPVisionConfig(**tiny, image_size=16, patch_size=8),
        LlamaConfig(**tiny, vocab_size=len(WORDS), num_key_value_heads=2, pad_token_id=0, bos_token_id=2),
        image_token_index=4,
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"], model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        image_token="<image>", num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def test_a_local_model_is_asked_as_transformers_asks_it(llava):
    judge = LocalJudge(llava, frames=2, length=6)
    frames = colors(5)
    reply = judge.ask(frames, "ball why?")
    assert reply and {*reply.split()} <= {*WORDS}
    assert reply == judge.ask(frames, "ball why?")
    processor = LlavaProcessor.from_pretrained(llava)
    model = LlavaForConditionalGeneration.from_pretrained(llava).eval()
    pictures = [(frames[index] * 255).round().byte() for index in (1, 3)]  # the middles of two halves
    inputs = processor(images=pictures, text="<image> <image> ball why? ", return_tensors="pt")
    written = model.generate(**inputs, do_sample=False, max_new_tokens=6)
    assert reply == processor.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    replies = {judge.ask(colors(5, seed), question) for seed in range(4) for question in ("ball", "Yes No")}
    assert len(replies) > 1  # it depends on what is shown or asked
    assert not judge.model.training and not any(p.requires_grad for p in judge.model.parameters())


def test_bad_local_judges_get_a_sentence(llava, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No vision-language model \(config.json\) in .*nowhere"):
        LocalJudge(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text((llava / "config.json").read_text())
    with pytest.raises(ValueError, match=r"must be a vision-language model \(id or folder\): "):
        LocalJudge(tmp_path)
    with pytest.raises(ValueError, match="frames and length must be positive; got 0 and 256"):
        LocalJudge(llava, frames=0)


@contextmanager
def server(*answers):
    """Answers in turn with (status, body), the last one for good; remembers what it was sent."""
    sent, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append((self.path, dict(self.headers), json.loads(body)))
            status, answer = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", sent
    finally:
        running.shutdown()
        running.server_close()


def says(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def test_a_remote_judge_speaks_the_openai_dialect(monkeypatch):
    monkeypatch.setenv("A_KEY", "hush")
    with server(says("4")) as (address, sent):
        judge = RemoteJudge(address + "/", "some-model", key_variable="A_KEY", frames=2)
        assert judge.ask(colors(6), "why?") == "4"
    path, headers, body = sent[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer hush"
    assert body["model"] == "some-model" and body["temperature"] == 0
    text, *pictures = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "why?"} and len(pictures) == 2
    assert all(part["image_url"]["url"].startswith("data:image/png;base64,") for part in pictures)
    assert "hush" not in json.dumps(body) and "hush" not in repr(vars(judge))


def test_busy_servers_are_asked_again_and_refusals_are_not(monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    with server((503, b""), (429, b""), says("3")) as (address, sent):
        assert RemoteJudge(address, "m", "A_KEY", pause=0.0).ask(colors(2), "?") == "3"
        assert len(sent) == 3 and "Authorization" not in sent[0][1]
    with server((401, b"")) as (address, sent):
        with pytest.raises(OSError, match=r"m at http.* refuses the question: status 401. Is A_KEY set\?"):
            RemoteJudge(address, "m", "A_KEY", pause=0.0).ask(colors(2), "?")
        assert len(sent) == 1
    with server((500, b"")) as (address, sent):
        with pytest.raises(OSError, match="gave no answer in 2 attempts: status 500"):
            RemoteJudge(address, "m", retries=1, pause=0.0).ask(colors(2), "?")
        assert len(sent) == 2
    with (
        server((200, b'{"choices": []}')) as (address, _),
        pytest.raises(OSError, match="must answer as chat/completions does; got b"),
    ):
        RemoteJudge(address, "m", pause=0.0).ask(colors(2), "?")
    with pytest.raises(OSError, match="gave no answer in 1 attempts: "):
        RemoteJudge("http://127.0.0.1:9", "m", retries=0, seconds=1).ask(colors(2), "?")


def test_bad_addresses_get_a_sentence():
    with pytest.raises(ValueError, match="must begin with http:// or https://; got 'localhost'"):
        RemoteJudge("localhost", "m")
    with pytest.raises(ValueError, match="positive, retries and pause not negative; got 8, 256, 0, 3"):
        RemoteJudge("http://x", "m", seconds=0)


def test_a_transcript_keeps_replies_and_asks_once(tmp_path):
    parrot, frames = Parrot(why="because", how="so"), colors(3)
    path = tmp_path / "deep" / "replies.jsonl"
    transcript = Transcript(parrot, path)
    assert transcript.ask(frames, "why?") == "because"
    assert transcript.ask(frames, "why?") == "because" and len(parrot.asked) == 1
    assert transcript.ask(colors(3, seed=1), "why?") == "because" and len(parrot.asked) == 2
    with open(path, "a") as file:
        file.write('{"judge": "parrot", "frames": "cut')  # the run was killed here
    again = Transcript(Parrot(how="so"), path)
    assert again.ask(frames, "why?") == "because" and not again.judge.asked
    assert again.ask(frames, "how?") == "so"
    lines = path.read_text().splitlines()
    assert len(lines) == 4 and json.loads(lines[3])["reply"] == "so"
    assert Transcript(Parrot(), path).ask(frames, "how?") == "so"


def test_frames_are_spread():
    frames = torch.arange(10.0)[:, None, None, None].expand(-1, 3, 1, 1)
    assert spread(frames, 5)[:, 0, 0, 0].tolist() == [1, 3, 5, 7, 9]
    assert len(spread(frames, 20)) == 10
