import pytest

from worldgen.audio.subtitles import Cue, to_srt, to_vtt

CUES = (Cue(0.0, 1.5, "A ball\n\nfalls."), Cue(3661.0004, 3662.9996, "x < y & z"))


def test_subrip_is_numbered_and_has_commas():
    assert to_srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,500\nA ball\nfalls.\n\n2\n01:01:01,000 --> 01:01:03,000\nx < y & z\n"
    )


def test_webvtt_has_its_head_points_and_no_markup():
    assert to_vtt(CUES) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nA ball\nfalls.\n\n"
        "01:01:01.000 --> 01:01:03.000\nx &lt; y &amp; z\n"
    )


def test_ffmpeg_reads_both(tmp_path):
    import av

    for name, text in (("a.srt", to_srt(CUES)), ("a.vtt", to_vtt(CUES))):
        (tmp_path / name).write_text(text)
        with av.open(str(tmp_path / name)) as file:
            packets = [packet for packet in file.demux() if packet.size]
            starts = [float(packet.pts * packet.time_base) for packet in packets]
            ends = [float((packet.pts + packet.duration) * packet.time_base) for packet in packets]
        assert starts == pytest.approx([0.0, 3661.0]) and ends == pytest.approx([1.5, 3663.0])


@pytest.mark.parametrize("start, end", [(-1.0, 1.0), (2.0, 1.0), (0.0, float("inf"))])
def test_a_cue_ends_after_it_starts(start, end):
    with pytest.raises(ValueError, match="must end after it starts"):
        Cue(start, end, "x")
