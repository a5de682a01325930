import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from worldgen.generation.words.writers import LocalWriter, RemoteWriter, require_caption

CAPTION = "The clip shows a red rubber ball. At first, the red ball falls."


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny causal model that learned to answer one prompt with one caption."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("writer")
    words = [
        "<s>",
        "</s>",
        "<unk>",
        "red",
        "falls",
        *dict.fromkeys(CAPTION.replace(".", " .").replace(",", " ,").split()),
    ]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(words))}
    plain = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    ids = torch.tensor([tokenizer("a red ball falls " + CAPTION)["input_ids"] + [1]])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_in_a_folder_writes_and_what_it_loses_is_put_back(checkpoint):
    writer = LocalWriter(checkpoint)
    told = writer.write("a red ball falls")
    assert told.text.replace(" .", ".").replace(" ,", ",").endswith(CAPTION) and told.lost == ()
    lost = writer.write("a red ball falls on snow")
    assert lost.text.startswith("A red ball falls on snow. ") and "snow" in lost.lost


def test_a_gguf_file_is_read_by_transformers(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the package gguf is an extra")
    generator = torch.Generator().manual_seed(0)
    words = ["<unk>", "<s>", "</s>", *(f"▁{word}" for word in dict.fromkeys(CAPTION.split()))]
    out = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    sizes = {"context_length": 512, "embedding_length": 32, "feed_forward_length": 32, "block_count": 1}
    for name, value in sizes.items():
        getattr(out, f"add_{name}")(value)
    out.add_head_count(2)
    out.add_head_count_kv(2)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(16)
    out.add_vocab_size(len(words))
    out.add_tokenizer_model("llama")
    out.add_token_list(words)
    out.add_token_scores([0.0] * len(words))
    out.add_token_types([2, 3, 3] + [1] * (len(words) - 3))
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)

    def put(name, *shape):
        out.add_tensor(name, torch.randn(*shape, generator=generator).numpy())

    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        put(f"blk.0.{name}.weight", 32, 32)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        put(f"{name}.weight", 32)
    put("token_embd.weight", len(words), 32)
    put("output.weight", len(words), 32)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    writer = LocalWriter(tmp_path / "tiny.gguf", length=8)
    assert writer.model.config.hidden_size == 32 and len(writer.tokenizer) >= len(words)


def test_what_is_no_model_gets_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="No language model"):
        LocalWriter(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match="must be a causal language model"):
        LocalWriter(tmp_path)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="must be a causal language model|needs the package gguf"):
        LocalWriter(tmp_path / "bad.gguf")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "ok",
        "7 8 9 10 11",
        "{}[]()<>;;;;",
        "ball ball ball ball ball ball ball ball",
        "\ufffd a b",
        "word " * 900,
    ],
)
def test_rubbish_is_no_caption(reply):
    with pytest.raises(ValueError, match="X must answer with a caption in plain words"):
        require_caption(reply, "X")


def test_a_caption_is_taken_out_of_what_stands_around_it():
    reply = '<think>hm</think>\nCaption: "A red ball falls down."\n\nI hope it helps.'
    assert require_caption(reply, "X") == "A red ball falls down."


@pytest.fixture(scope="module")
def server():
    """Answers with what was put into ``reply``: bytes, a status, or silence when None."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = self.server.reply
            if reply is None:
                self.server.woken.wait(5)
                return
            self.send_response(reply if isinstance(reply, int) else 200)
            self.end_headers()
            self.wfile.write(b"" if isinstance(reply, int) else reply)

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    running.woken = threading.Event()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.woken.set()
    running.shutdown()
    running.server_close()


def answer(text):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def test_an_endpoint_writes(server):
    server.reply = answer(CAPTION)
    told = RemoteWriter(f"http://127.0.0.1:{server.server_port}/v1/", "tiny").write("a red ball falls")
    assert told.text == CAPTION and server.asked["model"] == "tiny"
    assert server.asked["messages"][-1] == {"role": "user", "content": "a red ball falls"}


@pytest.mark.parametrize(
    "reply, kind, sentence",
    [
        (b"<html>", ValueError, "must answer as chat/completions does; got '<html>'"),
        (b'{"choices": []}', ValueError, "must answer as chat/completions does"),
        (answer("%&/()"), ValueError, "must answer with a caption in plain words"),
        (401, OSError, "refuses with status 401. Is OPENAI_API_KEY set"),
        (500, OSError, "refuses with status 500"),
        (None, OSError, "gave no answer within 0.2 s: .*timed out"),
    ],
)
def test_an_endpoint_that_does_not_answer_or_answers_rubbish(server, reply, kind, sentence):
    server.reply = reply
    with pytest.raises(kind, match=sentence):
        RemoteWriter(f"http://127.0.0.1:{server.server_port}/v1", "tiny", seconds=0.2).write("a ball falls")
    if reply is None:
        server.woken.set()


def test_an_address_must_be_http_and_somebody_there():
    with pytest.raises(ValueError, match="--endpoint must begin with http"):
        RemoteWriter("localhost:8000", "tiny")
    with pytest.raises(OSError, match="gave no answer within"):
        RemoteWriter("http://127.0.0.1:9/v1", "tiny", seconds=1).write("a ball falls")
