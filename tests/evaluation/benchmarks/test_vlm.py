"""Judges asked about folders of videos, through the command, by a server of our own."""

import csv
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from tests.report.pages import read_whole
from worldgen.cli import main as cli
from worldgen.data.media import write_video
from worldgen.evaluation.benchmarks.vlm import open_judge, read_phygenbench
from worldgen.metrics.vlm.judge import RemoteJudge
from worldgen.report.markup import format_number


@contextmanager
def server(reply, status=200):
    """Replies to each question with what ``reply`` makes of its words; remembers them."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body["messages"][0]["content"][0]["text"])
            self.send_response(status)
            self.end_headers()
            answer = {"choices": [{"message": {"content": reply(asked[-1])}}]}
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1#some-model", asked
    finally:
        running.shutdown()
        running.server_close()


def film(path, level):
    frames = torch.full((4, 3, 16, 16), level)
    if level:
        frames[..., :8] = 0.9
    write_video(path, frames, fps=4)


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for index, name in enumerate(("black", "drop", "roll", "spin", "bare")):
        film(folder / f"{name}.mp4", 0.2 * index)
        if name != "bare":
            (folder / f"{name}.txt").write_text(f"a ball in a {name}")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "broken.txt").write_text("something")
    (folder / "rules.csv").write_text(
        "file,rule\ndrop.mp4,it falls\ndrop.mp4,it stays whole\nspin.mp4,it turns\n"
    )
    return folder


REPLIES = {
    "drop": "5",
    "roll": "**4**/5",
    "spin": "I notice nothing",
    "laws": "4",
    "falls": "1",
    "turns": "2",
}


def rater(question):
    return next((reply for word, reply in REPLIES.items() if word in question), "0")


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *map(str, words)])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_videophy2_from_folder_to_table(videos, tmp_path, capsys):
    out = tmp_path / "out"
    with server(rater) as (judge, asked):
        words = ["evaluate", "--benchmark", "videophy2", "--videos", videos, "--judge", judge, "--out", out]
        cli.main([str(word) for word in words])
        count = len(asked)
        cli.main([str(word) for word in words])
        assert len(asked) == count == 3 * 2 + 3  # two ratings each and three rules, and once only
    report = json.loads((out / "report.json").read_text())
    joint, semantic, physical, rules = report["measures"]
    assert (joint["value"], joint["n"]) == (1.0, 2) and "1 of 3 videos without an answer" in joint["note"]
    assert semantic["value"] == 4.5 and physical["n"] == 3 and rules["value"] == 0.5 and rules["n"] == 2
    assert {measure["claim"] for measure in report["measures"]} == {"opinion"}
    table = {row["video"]: row for row in read_csv(out / "verdicts.csv")}
    assert table["drop.mp4"]["rules"] == "1 0" and table["spin.mp4"]["semantic"] == ""
    reasons = {row["file"]: row["reason"] for row in read_csv(out / "missing.csv")}
    assert "one flat color" in reasons["black.mp4"] and "no caption" in reasons["bare.mp4"]
    assert "cannot be decoded" in reasons["broken.mp4"]
    page = (out / "report.html").read_text()
    read_whole(page)
    measured = page[page.index("<header>") : page.index("Video by video")]
    for name, value, note in ((one["name"], one["value"], one["note"]) for one in report["measures"]):
        assert name in measured and f"<b>{format_number(value)}</b>" in measured and note in measured
    assert '<td>spin.mp4</td><td class="number">–</td><td class="number">4</td>' in page
    assert "cannot be decoded" in page and "counted, and not guessed" in page
    replies = [json.loads(line) for line in (out / "replies.jsonl").read_text().splitlines()]
    assert len(replies) == 9 and "I notice nothing" in {line["reply"] for line in replies}


def test_words_can_be_changed(videos, tmp_path, capsys):
    words = tmp_path / "words.yaml"
    words.write_text("match: 'MATCH {caption}'\nphysical: PHYSICS\nrule: 'RULE {rule}'\n")
    with server(lambda question: "3") as (judge, asked):
        command = [
            "--benchmark",
            "videophy2",
            "--videos",
            videos,
            "--judge",
            judge,
            "--out",
            tmp_path / "out",
        ]
        cli.main(["evaluate", *map(str, command), "--words", str(words)])
        assert {"MATCH a ball in a drop", "PHYSICS", "RULE it falls"} <= {*asked}
        words.write_text("question: x")
        assert "must map some of match, physical, rule to a question" in fails(
            capsys, *command, "--words", words
        )


def entry(index):
    return {
        "caption": f"prompt {index}",
        "physical_laws": "gravity",
        "singleimage_question": [{"Statement": "on the way"}, {"Statement": f"at the end {index}"}],
        "multiimage_question": {"Description1": "first half", "Description2": "second half"},
        "video_question": {f"Description{grade}": f"grade {grade}" for grade in (1, 2, 3, 4)},
        "explicit_caption": "the whole",
    }


@pytest.fixture
def phygenbench(tmp_path):
    folder = tmp_path / "PhyGenBench"
    folder.mkdir()
    for name in ("single_question", "multi_question", "video_question", "explicit_prompts"):
        (folder / f"{name}.json").write_text(json.dumps([entry(1), entry(2)]))
    return folder


def test_phygeneval_from_folder_to_table(phygenbench, tmp_path):
    items = read_phygenbench(phygenbench)
    assert items[1].frame == "at the end 2" and items[0].options[3] == "grade 4"
    film(tmp_path / "made" / "output_video_1.mp4", 0.5)

    def reply(question):
        if "at the end" in question:
            return "1"
        return "Almost Realistic" if "grade 4" in question else "No" if "second half" in question else "Yes."

    with server(reply) as (judge, asked):
        words = ["--benchmark", "phygeneval", "--videos", tmp_path / "made", "--judge", judge]
        words += ["--questions", phygenbench, "--out", tmp_path / "out"]
        cli.main(["evaluate", *map(str, words)])
        assert len(asked) == 5
    (measure,) = json.loads((tmp_path / "out" / "report.json").read_text())["measures"]
    assert measure["value"] == pytest.approx(2 / 3) and measure["n"] == 1  # round((1 + 2 + 3) / 3) of 3
    assert [row["file"] for row in read_csv(tmp_path / "out" / "missing.csv")] == ["output_video_2.mp4"]


def test_bad_words_get_one_sentence(videos, phygenbench, tmp_path, capsys):
    judge = ["--judge", "http://127.0.0.1:9/v1#m", "--out", tmp_path / "out"]
    assert "needs --videos; give it" in fails(capsys, "--benchmark", "videophy2", *judge)
    assert "has no option --videos; it is of worldgen evaluate benchmark videophy2" in fails(
        capsys, "--benchmark", "intphys", "--videos", videos, *judge
    )
    assert "takes --questions FOLDER" in fails(
        capsys, "--benchmark", "phygeneval", "--videos", videos, *judge
    )
    (phygenbench / "multi_question.json").write_text("[{}, {}]")
    whole = ["--benchmark", "phygeneval", "--videos", videos, *judge, "--questions", phygenbench]
    assert "must hold PhyGenBench's questions" in fails(capsys, *whole)
    (phygenbench / "multi_question.json").unlink()
    assert "multi_question.json misses" in fails(capsys, *whole)
    with server(lambda _: "4", status=403) as (address, _):
        assert "refuses the question: status 403. Is OPENAI_API_KEY set?" in fails(
            capsys,
            "--benchmark",
            "videophy2",
            "--videos",
            videos,
            "--judge",
            address,
            "--out",
            tmp_path / "o",
        )


def test_a_judge_is_opened_by_address_or_path(tmp_path):
    judge = open_judge("https://example.org/v1#big-model")
    assert isinstance(judge, RemoteJudge) and (judge.address, judge.model) == (
        "https://example.org/v1",
        "big-model",
    )
    with pytest.raises(ValueError, match="must be written ADDRESS#MODEL; got 'http://x'"):
        open_judge("http://x")
    with pytest.raises(FileNotFoundError, match="No vision-language model"):
        open_judge(str(tmp_path))
