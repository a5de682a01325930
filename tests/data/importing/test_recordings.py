from pathlib import Path

from worldgen.data.importing.recordings import Recording


def test_a_fingerprint_changes_with_bytes_place_and_caption(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a" * 200_000)
    base = Recording("a.mp4", path)
    marks = {base.fingerprint(), Recording("a.mp4", path, "x").fingerprint()}
    marks |= {
        Recording("a.mp4", path, begin=1.0).fingerprint(),
        Recording("a.mp4", path, "", 5, 90).fingerprint(),
    }
    path.write_bytes(b"a" * 199_999 + b"b")
    marks |= {base.fingerprint()}
    path.write_bytes(b"b" + b"a" * 199_999)
    marks |= {base.fingerprint()}
    assert len(marks) == 6
    assert Recording("other name", path).fingerprint() == base.fingerprint()
