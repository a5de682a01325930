"""Files of clients are known by what is in them, and no larger than is allowed."""

import asyncio
from pathlib import Path

import pytest

from worldgen.server.folder import ServerFolder
from worldgen.server.uploads import TooLarge, display_name, receive, remove_partials, sniff

ROOT = Path(__file__).resolve().parents[2]
VIDEO = (ROOT / "assets/readme/drop.mp4").read_bytes()


def send(folder, *chunks, name="drop.mp4", most=10**6):
    async def come():
        for chunk in chunks:
            if chunk is None:
                raise ConnectionResetError
            yield chunk

    return asyncio.run(receive(folder, come(), name, most))


@pytest.mark.parametrize(
    "head, suffix",
    [
        (VIDEO[:64], ".mp4"),
        (b"\x89PNG\r\n\x1a\n", ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"GIF89a", ".gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
        (b"RIFF\0\0\0\0AVI LIST", ".avi"),
        (b"\0\0\0\x1cftypavif", ".avif"),
        (b"\x1a\x45\xdf\xa3", ".mkv"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head, suffix):
    assert sniff(head) == suffix


@pytest.mark.parametrize(
    "head", [b"#!/bin/sh\n", b"<svg onload=alert(1)>", b"%PDF-1.7", b"PK\3\4", b"RIFF\0\0\0\0WAVE"]
)
def test_what_is_neither_picture_nor_video_is_refused(tmp_path, head):
    folder = ServerFolder(tmp_path)
    for tail in (b"", b"x" * 100):
        with pytest.raises(ValueError, match="must be a picture or video"):
            send(folder, head + tail, name="clip.mp4")
    assert not list((tmp_path / "uploads").iterdir())


def test_a_video_arrives_whole_under_a_name_of_the_servers(tmp_path):
    folder = ServerFolder(tmp_path)
    upload = send(folder, VIDEO[:10], VIDEO[10:], name="../../etc/drop.exe")
    assert (upload.name, upload.suffix, upload.size) == ("drop.exe", ".mp4", len(VIDEO))
    assert folder.upload_path(upload.id).read_bytes() == VIDEO
    assert folder.upload_path(upload.id).parent == tmp_path / "uploads"


@pytest.mark.parametrize(
    "chunks, error", [((VIDEO,), TooLarge), ((b"",), ValueError), ((VIDEO[:100], None), ConnectionResetError)]
)
def test_of_what_does_not_arrive_nothing_stays(tmp_path, chunks, error):
    with pytest.raises(error):
        send(ServerFolder(tmp_path), *chunks, most=1000)
    assert not list((tmp_path / "uploads").iterdir())


def test_what_a_killed_server_received_in_part_is_removed(tmp_path):
    folder = ServerFolder(tmp_path)
    (tmp_path / "uploads" / ".0.partial").write_bytes(b"x")
    remove_partials(folder)
    assert not list((tmp_path / "uploads").iterdir())


def test_a_name_is_shown_and_no_path():
    assert display_name("C:\\films\\a b.mp4") == "a b.mp4"
    assert display_name("/") == display_name("\0\n") == "upload"
    assert len(display_name("x" * 1000)) == 100
