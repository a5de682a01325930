"""Ask a judge about a folder of videos, by VideoPhy-2 or PhyGenEval: opinions, kept as they came.

What is written::

    OUT/replies.jsonl      every question and reply, as it came; a second run asks only what is missing
    OUT/verdicts.csv       one line per video; empty where a reply was no answer
    OUT/missing.csv        videos that are not there or cannot be read; averaged over nowhere
    OUT/report.html        the same to read
    OUT/report.json        the summary
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import yaml

from worldgen.data.videos import VideoFolder, read_small, require_picture
from worldgen.evaluation.benchmarks.pages import opinions_report
from worldgen.evaluation.benchmarks.pair_tables import write_csv
from worldgen.files import progress_bar
from worldgen.metrics.measure import Measure, Missing, Row
from worldgen.metrics.vlm.judge import Judge, LocalJudge, RemoteJudge, Transcript
from worldgen.metrics.vlm.protocols import (
    PhyGenEval,
    PhyGenItem,
    PhyGenVerdict,
    VideoPhy2,
    VideoPhy2Verdict,
    measure_phygeneval,
    measure_videophy2,
)
from worldgen.report.terminal import print_report
from worldgen.report.write import report_json, write_report
from worldgen.types import Clip

BENCHMARKS = ("videophy2", "phygeneval")
NOTES = (
    "These are opinions of a judge, neither measurements of physics nor of fidelity. A reply that is no "
    "clear answer is counted, and not guessed.",
)
_Protocol = TypeVar("_Protocol", VideoPhy2, PhyGenEval)
_Verdict = TypeVar("_Verdict", VideoPhy2Verdict, PhyGenVerdict)


def open_judge(text: str) -> Judge:
    """``http://HOST/v1#MODEL``, whose key is in OPENAI_API_KEY, or the folder or id of a local model."""
    if not text.startswith(("http://", "https://")):
        return LocalJudge(text)
    address, mark, model = text.partition("#")
    if not mark or not model:
        raise ValueError(f"A judge behind an address must be written ADDRESS#MODEL; got {text!r}.")
    return RemoteJudge(address, model)


def evaluate_vlm(
    benchmark: str,
    videos: Path,
    out: Path,
    judge: Judge,
    words: Path | None,
    questions: Path | None,
) -> Path:
    """Ask about every video, and write the tables.

    Args:
        benchmark: videophy2 (videos with captions, and rules.csv of file and rule where there are rules) or
            phygeneval (output_video_1.mp4 and so on).
        videos: The folder.
        out: Folder of the tables.
        judge: Who is asked.
        words: Yaml with other words of the questions, by the names of `VideoPhy2` or `PhyGenEval`.
        questions: PhyGenBench's folder of json files.

    Returns:
        Path of report.html.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: No videos, or questions in another form.
        OSError: The judge cannot be reached; what it said before is kept.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"--benchmark with --judge takes {', '.join(BENCHMARKS)}; got {benchmark!r}.")
    said = ""
    asked = Transcript(judge, out / "replies.jsonl")
    if benchmark == "videophy2":
        folder, protocol = VideoFolder(videos, size=1), _reword(VideoPhy2(), words)
        said = folder.captions.describe("videos")
        rules = _read_rules(videos / "rules.csv")
        captions = {path: folder.caption(index) for index, path in enumerate(folder.paths)}
        why = "has no caption to be held against"
        bare = [Missing(path.name, why) for path, said in captions.items() if not said]
        tasks = {path: (said, tuple(rules[path.name])) for path, said in captions.items() if said}
        verdicts, missing = _ask(
            tasks, lambda clip, task: protocol.judge(asked, clip.frames[0], task[0], task[1]), bare
        )
        measures = measure_videophy2(list(verdicts.values()))
        heads = ["video", "semantic", "physical", "joint", "rules"]
        rows = [
            [path.name, one.semantic, one.physical, one.joint, " ".join(map(str, one.rules))]
            for path, one in verdicts.items()
        ]
    else:
        if questions is None:
            raise ValueError("--benchmark phygeneval takes --questions FOLDER, PhyGenBench's json files.")
        evaluation = _reword(PhyGenEval(), words)
        every = enumerate(read_phygenbench(questions), 1)
        items = {videos / f"output_video_{index}.mp4": item for index, item in every}
        graded, missing = _ask(items, lambda clip, item: evaluation.judge(asked, clip.frames[0], item), [])
        measures = (measure_phygeneval(list(graded.values())),)
        heads = ["video", "single", "multi", "video_grade", "grade"]
        rows = [[path.name, one.single, one.multi, one.video, one.grade] for path, one in graded.items()]
    return _write(out, f"{benchmark} of {videos.name} by {judge.name}", measures, heads, rows, missing, said)


def read_phygenbench(folder: Path) -> list[PhyGenItem]:
    """The questions of PhyGenBench, one item per prompt.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file in another form.
    """
    names = ("single_question", "multi_question", "video_question", "explicit_prompts")
    tables = []
    for name in names:
        path = folder / f"{name}.json"
        if not path.is_file():
            raise FileNotFoundError(f"PhyGenBench's questions must lie in {folder}; {path.name} misses.")
        tables.append(path)
    try:
        single, multi, video, explicit = (json.loads(path.read_text(encoding="utf-8")) for path in tables)
        return [
            PhyGenItem(
                caption=one["caption"],
                law=one["physical_laws"],
                frame=one["singleimage_question"][-1]["Statement"],  # the last frame's, where there are two
                steps=(
                    two["multiimage_question"]["Description1"],
                    two["multiimage_question"]["Description2"],
                    whole["explicit_caption"],
                ),
                options=tuple(three["video_question"][f"Description{grade}"] for grade in (1, 2, 3, 4)),
            )
            for one, two, three, whole in zip(single, multi, video, explicit, strict=True)
        ]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{folder} must hold PhyGenBench's questions, one entry per prompt in each file: {error!r}."
        ) from error


_Task = TypeVar("_Task")


def _ask(
    tasks: dict[Path, _Task], question: Callable[[Clip, _Task], _Verdict], missing: list[Missing]
) -> tuple[dict[Path, _Verdict], list[Missing]]:
    """A verdict on every video, and what has none, beside what is known to miss."""
    found: dict[Path, _Verdict] = {}
    missing = list(missing)
    with progress_bar("videos") as progress:
        bar = progress.add_task("Asking", total=len(tasks))
        for path, task in tasks.items():
            try:
                clip = require_picture(read_small(path), path.name)
            except (ValueError, OSError) as error:
                missing.append(Missing(path.name, " ".join(str(error).split())))
            else:
                found[path] = question(clip, task)  # a judge that cannot be reached ends it: no video's fault
            progress.advance(bar)
    if not found:
        raise ValueError(f"No video can be judged; the first: {missing[0].file}: {missing[0].reason}")
    return found, missing


def _reword(protocol: _Protocol, words: Path | None) -> _Protocol:
    if words is None:
        return protocol
    if not words.is_file():
        raise FileNotFoundError(f"No words of the questions at {words}. Check the path.")
    try:
        said = yaml.safe_load(words.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{words} must be yaml; it cannot be read. Correct it.") from error
    names = {field.name for field in fields(protocol)}
    if not isinstance(said, dict) or not said.keys() <= names or not all(map(str, said.values())):
        raise ValueError(f"{words} must map some of {', '.join(sorted(names))} to a question; got {said!r}.")
    return type(protocol)(**{**asdict(protocol), **said})


def _read_rules(path: Path) -> defaultdict[str, list[str]]:
    rules: defaultdict[str, list[str]] = defaultdict(list)
    if path.is_file():
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"file", "rule"} <= {*(reader.fieldnames or ())}:
                raise ValueError(f"{path} must have the columns file and rule; got {reader.fieldnames}.")
            for row in reader:
                rules[row["file"]].append(row["rule"])
    return rules


def _write(
    out: Path,
    title: str,
    measures: Sequence[Measure],
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    missing: Sequence[Missing],
    said: str = "",
) -> Path:
    notes = (*NOTES, said) if said else NOTES
    summary = [measure.row() for measure in measures]
    summary.append(Row("files missing or refused", float(len(missing)), note="with reasons in missing.csv"))
    report = opinions_report(title, summary, measures, heads, rows, missing, notes)
    numbers = {
        "measures": [asdict(measure) for measure in measures],
        "missing": [asdict(one) for one in missing],
        "notes": list(notes),
    }
    files = {
        "verdicts.csv": write_csv(heads, rows),
        "missing.csv": write_csv(["file", "reason"], ([one.file, one.reason] for one in missing)),
        "report.json": report_json(report, numbers),
    }
    print_report(report)
    return write_report(out, report, files)
