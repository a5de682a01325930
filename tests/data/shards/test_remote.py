import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
import torch

from worldgen.data.cache.cache import identify_clips
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards import remote
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips, open_source


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop",), 4, size=16, frames=4, processes=1, clips_per_shard=2)
    return folder


class Ranged(SimpleHTTPRequestHandler):
    """A server of files that knows ranges of bytes, as object stores do."""

    def do_GET(self):
        span = self.headers.get("Range")
        if span is None:
            super().do_GET()
            return
        begin, end = (int(one) for one in span.removeprefix("bytes=").split("-"))
        with open(self.translate_path(self.path), "rb") as file:
            whole = file.read()
        part = whole[begin : end + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{end}/{len(whole)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def served(local):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranged, directory=str(local)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def memory(local):
    files = fsspec.filesystem("memory")
    files.store.clear()
    for path in local.iterdir():
        files.pipe(f"/bucket/train/{path.name}", path.read_bytes())
    return "memory://bucket/train"


@pytest.fixture(params=["memory", "served"])
def address(request):
    return request.getfixturevalue(request.param)


def test_clips_behind_an_address_are_those_of_the_folder(local, address):
    here, there = ShardedClips(local), open_source(address)
    assert isinstance(there, ShardedClips) and len(there) == len(here) == 4
    for number in range(4):
        assert torch.equal(here[number].frames, there[number].frames)
        assert here[number].prompts == there[number].prompts
    assert identify_clips(here) == identify_clips(there)
    with pytest.raises(ValueError, match="16 frames of size None are asked for"):
        open_source(address, frames=16)


def test_a_loader_takes_an_address_and_its_workers_read_from_it(local, served):
    (batch,) = ClipDataModule(served, batch_size=4, workers=1).train_dataloader()
    (expected,) = ClipDataModule(local, batch_size=4).train_dataloader()
    assert torch.equal(batch.frames, expected.frames)


def test_a_shard_that_is_lost_in_the_middle_is_one_sentence(memory):
    clips = ShardedClips(memory)
    assert len(clips[0].frames)
    fsspec.filesystem("memory").rm("/bucket/train/shard-000001.tar")
    with pytest.raises(FileNotFoundError, match=r"shard-000001.tar is gone. Bring it back, and go on from"):
        clips[3]
    with pytest.raises(ValueError, match="memory://bucket/nothing must hold shards"):
        open_source("memory://bucket/nothing")


def test_a_store_that_does_not_answer_is_asked_again_and_then_is_one_sentence(memory, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    clips, asked = ShardedClips(memory), []
    files = type(fsspec.filesystem("memory"))
    read = files.cat_file

    def late(self, path, *more, **given):
        asked.append(path)
        if len(asked) in (1, 2):
            raise TimeoutError("no answer")
        return read(self, path, *more, **given)

    monkeypatch.setattr(files, "cat_file", late)
    assert len(clips[0].frames) and len(asked) == 3
    monkeypatch.setattr(files, "cat_file", lambda *_, **__: (_ for _ in ()).throw(TimeoutError("no answer")))
    with pytest.raises(TimeoutError, match=r"must answer within 30 s; asked 3 times .*\(no answer\)"):
        clips[1]


def test_an_address_that_nothing_opens_is_one_sentence():
    with pytest.raises(ValueError, match="must be an address that fsspec opens"):
        open_source("nosuch://bucket/x")
