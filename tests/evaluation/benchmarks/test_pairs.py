"""Pair folders in the published layouts, made small, and everything that can miss in them."""

import csv
import json
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

from tests.report.pages import holds_summary, read_whole
from worldgen.cli import main as cli
from worldgen.data.media import write_video
from worldgen.data.videos import read_movie
from worldgen.encoders.base import Encoder, Tokens, load_encoder
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.evaluation.benchmarks.pair_layouts import find_intphys, find_intphys2, find_likephys
from worldgen.evaluation.benchmarks.pair_tables import measure_pairs, write_pairs
from worldgen.evaluation.benchmarks.pairs import score_videos
from worldgen.evaluation.features import measure_features
from worldgen.metrics.surprise import Windows, fit_windows
from worldgen.types import Clip

FRAMES = 8
TINY = VJEPA2Config(
    patch_size=16, crop_size=32, frames_per_clip=FRAMES, tubelet_size=2, hidden_size=32, num_hidden_layers=1,
    num_attention_heads=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    num_pooler_layers=1, initializer_range=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def vjepa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    VJEPA2Model(TINY).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)
    return folder


def walk(places, level=0.9):
    """A bright square at these columns, one per frame."""
    frames = torch.full((len(places), 3, 32, 32), 0.2)
    for frame, x in zip(frames, places, strict=True):
        if x is not None:
            frame[:, 10:20, x : x + 8] = level
    return frames


THERE = [0, 2, 4, 6, 8, 10, 12, 14]
GONE = [0, 2, 4, 6, 8, None, None, None]
LATE = [None, None, 4, 6, 8, 10, 12, 14]
NEVER = [None] * FRAMES


def write_mp4(path, places, level=0.9):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, walk(places, level), fps=8)


def write_movie(folder, places, possible):
    (folder / "scene").mkdir(parents=True)
    for index, frame in enumerate(walk(places)):
        pixels = (frame.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / "scene" / f"scene_{index + 1:03d}.png")
    (folder / "status.json").write_text(json.dumps({"header": {"is_possible": possible}}))


@pytest.fixture
def intphys(tmp_path):
    """One scene of two blocks; movies 1 and 3 begin alike, and 2 and 4."""
    for block in ("O1", "O3"):
        for number, (places, possible) in enumerate(
            [(THERE, True), ([None, *LATE[1:]], False), (GONE, False), (NEVER[:7] + [14], True)], 1
        ):
            write_movie(tmp_path / "dev" / block / "01" / str(number), places, possible)
    return tmp_path / "dev"


@pytest.fixture
def likephys(tmp_path):
    root = tmp_path / "likephys"
    for scene, level in (("subgroup_000", 0.9), ("subgroup_001", 0.7)):
        folder = root / "ball_drop_videos" / scene
        write_mp4(folder / "valid_00.mp4", THERE, level)
        write_mp4(folder / "valid_01.mp4", THERE[1:] + [16], level)
        write_mp4(folder / "teleport_00.mp4", [0, 2, 4, 20, 22, 24, 22, 20], level)
        write_mp4(folder / "over_bounce_00.mp4", [0, 2, 4, 6, 4, 2, 0, 2], level)
    return root


@pytest.fixture
def intphys2(tmp_path):
    root = tmp_path / "IntPhys2"
    lines = [("file_name", "SceneIndex", "name", "type", "condition", "Difficulty")]
    movies = {"1_Possible": THERE, "1_Impossible": GONE, "2_Possible": LATE, "2_Impossible": THERE[::-1]}
    for scene, condition in (("0", "permanence"), ("1_0", "solidity")):
        for kind, places in movies.items():
            name = f"Videos/{scene}-{kind}.mp4"
            write_mp4(root / "Main" / name, places, 0.9 - 0.1 * len(scene))
            lines.append((name, scene, "x", kind, condition, "Easy"))
    with open(root / "Main" / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)
    return root


def test_intphys_pairs_are_movies_that_begin_alike(intphys):
    found = find_intphys(intphys)
    assert (len(found.pairs), found.expected, found.missing) == (4, 4, ())
    assert {pair.kind for pair in found.pairs} == {"O1", "O3"}
    names = [(pair.possible.parent.name, pair.impossible.parent.name) for pair in found.pairs[:2]]
    assert names == [("1", "3"), ("4", "2")]


def test_intphys_scenes_that_are_not_whole_are_listed(intphys):
    (intphys / "O1" / "01" / "2" / "status.json").unlink()
    found = find_intphys(intphys)
    assert len(found.pairs) == 2 and found.expected == 4
    assert [(one.file, one.reason) for one in found.missing] == [("O1/01/2/status.json", "missing")]
    (intphys / "O3" / "01" / "1" / "status.json").write_text('{"header": {"is_possible": false}}')
    assert "movies 1 and 3 begin alike and are both of one kind" in find_intphys(intphys).missing[1].reason
    (intphys / "O3" / "01" / "1" / "status.json").write_text("{}")
    assert "no header.is_possible, as in the unlabeled test set" in find_intphys(intphys).missing[1].reason


def test_intphys2_pairs_come_from_its_table(intphys2):
    found = find_intphys2(intphys2)
    assert (len(found.pairs), found.expected, found.missing) == (4, 4, ())
    assert {(pair.kind, pair.scene) for pair in found.pairs} == {("permanence", "0"), ("solidity", "1_0")}
    assert found.pairs == find_intphys2(intphys2 / "Main").pairs
    for pair in found.pairs:
        assert pair.impossible.name == pair.possible.name.replace("Possible", "Impossible")
    (intphys2 / "Main" / "Videos" / "0-1_Possible.mp4").unlink()
    with open(intphys2 / "Main" / "metadata.csv", "a") as file:
        file.write("Videos/odd.mp4,2,x,Perhaps,solidity,Easy\n")
    found = find_intphys2(intphys2)
    assert (len(found.pairs), found.expected) == (3, 4)
    reasons = {one.file: one.reason for one in found.missing}
    assert reasons == {
        "Videos/0-1_Possible.mp4": "missing",
        "Videos/odd.mp4": "type 'Perhaps' is not N_Possible",
    }


def test_likephys_pairs_every_valid_with_every_invalid_video(likephys):
    found = find_likephys(likephys)
    assert (len(found.pairs), found.expected, found.missing) == (8, 8, ())
    assert {pair.kind for pair in found.pairs} == {"ball_drop: teleport", "ball_drop: over_bounce"}
    (likephys / "ball_drop_videos" / "subgroup_001" / "teleport_00.mp4").unlink()
    for number in (0, 1):
        (likephys / "ball_drop_videos" / "subgroup_000" / f"valid_0{number}.mp4").unlink()
    found = find_likephys(likephys)
    assert len(found.pairs) == 2 and found.expected == 2 + 2 + 2
    assert [one.file for one in found.missing] == [
        "ball_drop_videos/subgroup_000/valid_00.mp4",
        "ball_drop_videos/subgroup_001/teleport_00.mp4",
    ]


def brightness(clip):
    return {"brightness": float(clip.frames.mean()), "nothing": None}


def test_a_number_that_counts_what_is_there_wins_the_pairs_it_should(likephys, tmp_path):
    """A square that is brighter in the impossible video, once in four: by hand."""
    root = tmp_path / "pairs" / "a"
    for scene, (one, two) in enumerate([(0.5, 0.6), (0.5, 0.9), (0.6, 0.9), (0.9, 0.5)]):
        write_mp4(root / str(scene) / "valid_00.mp4", THERE, one)
        write_mp4(root / str(scene) / f"kind{scene % 2}_00.mp4", THERE, two)
    found = find_likephys(root.parent)
    pairs = found.pairs
    videos = [path for pair in pairs for path in (pair.possible, pair.impossible)]
    scored = score_videos(videos, brightness, 1, tmp_path / "scores.jsonl", "mark")
    measures = {measure.name: measure for measure in measure_pairs(pairs, scored)}
    won = measures["brightness: pairs won"]
    assert won.value == 0.75 and won.n == 4 and won.low < 0.75 < won.high and won.limit == 0.5
    # Against .5 the four win, win, win and tie, twice; against .6 tie, win, win; against .9 two ties.
    assert measures["brightness: AUROC"].value == pytest.approx((2 * 3.5 + 2.5 + 1) / 16)
    nothing = measures["nothing"]
    assert nothing.value is None and "4 of 4 pairs without a value" in nothing.note
    page = write_pairs(tmp_path / "out", "title", found, scored, ("note",))
    report = json.loads(page.with_suffix(".json").read_text())
    assert report["pairs"] == {"judged": 4, "expected": found.expected} and report["notes"] == ["note"]
    text = page.read_text()
    assert read_whole(text).tags.count("svg") == 1 and "http" not in text
    holds_summary(text, [asdict(measure.row()) for measure in measures.values()])
    assert "brightness" in text[text.index("<svg") :] and text.count("4 files are not there") == 1
    assert len(report["missing"]) == len(found.missing) == 4  # each scene has one of the two kinds
    with open(page.parent / "pairs.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and float(rows[0]["value_possible"]) < float(rows[0]["value_impossible"])


def test_what_was_scored_is_not_scored_again(likephys, tmp_path):
    videos = [path for pair in find_likephys(likephys).pairs for path in (pair.possible, pair.impossible)]
    videos = list(dict.fromkeys(videos))
    count = []

    def score(clip):
        count.append(1)
        return brightness(clip)

    file = tmp_path / "scores.jsonl"
    first = score_videos(videos, score, 1, file, "mark")
    assert len(count) == len(videos) == 8
    with open(file, "a") as lines:
        lines.write('{"key": "cut o')  # the run was killed here
    assert score_videos(videos, score, 1, file, "mark") == first and len(count) == 8
    score_videos(videos[:2], score, 1, file, "another mark")
    assert len(count) == 10
    write_mp4(videos[0], THERE, 0.4)
    assert score_videos(videos, score, 1, file, "mark") != first and len(count) == 11


def evaluate(capsys, *words):
    cli.main(["evaluate", *map(str, words)])
    return capsys.readouterr().out


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *map(str, words)])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("benchmark", ["intphys", "intphys2", "likephys"])
def test_the_command_judges_an_encoder(benchmark, vjepa, tmp_path, capsys, request):
    root = request.getfixturevalue(benchmark)
    words = ["--benchmark", benchmark, "--pairs", root, "--encoder", vjepa, "--out", tmp_path / "out"]
    windows = ["--window", FRAMES, "--contexts", 2, 4]
    said = evaluate(capsys, *words, *windows)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    names = [measure["name"] for measure in report["measures"]]
    assert "mean surprise after 4 of 8 frames: pairs won" in names
    assert "largest surprise after 2 of 8 frames: AUROC" in names
    assert "standstill's surprise after 2 of 8 frames: pairs won" in names
    assert "GeoPhys curvature: pairs won" in names or "GeoPhys curvature" in names
    assert report["pairs"]["judged"] == report["pairs"]["expected"] and report["missing"] == []
    assert "--window 8 --contexts 2 4" in report["command"] and "report.html" in said
    page = (tmp_path / "out" / "report.html").read_text()
    kinds = {name.partition("pairs won, ")[2] for name in names} - {""}
    assert read_whole(page).tags.count("svg") == 2 and len(kinds) == 2
    drawn = page[page.index("Condition by condition") : page.index("What is missing")]
    assert all(f"{kind}; mean surprise after 2 of 8 frames" in drawn for kind in kinds)
    own = report["measures"][0]
    assert (
        own["claim"] == "physics" and 0 <= own["low"] <= own["value"] <= own["high"] <= 1 and own["blind_to"]
    )


def test_what_cannot_be_judged_is_counted_and_not_averaged(vjepa, likephys, tmp_path, capsys):
    first, second = (likephys / "ball_drop_videos" / f"subgroup_00{scene}" for scene in (0, 1))
    write_mp4(first / "teleport_00.mp4", NEVER)  # one color
    write_mp4(first / "over_bounce_00.mp4", [0])  # one frame
    (second / "valid_00.mp4").write_bytes(b"not a video")
    (second / "teleport_00.mp4").write_bytes((second / "valid_01.mp4").read_bytes())
    out = tmp_path / "out"
    evaluate(
        capsys,
        "--benchmark",
        "likephys",
        "--pairs",
        likephys,
        "--encoder",
        vjepa,
        "--out",
        out,
        "--window",
        8,
    )
    report = json.loads((out / "report.json").read_text())
    assert report["pairs"] == {"judged": 1, "expected": 8} and report["measures"][0]["n"] == 1
    with open(out / "missing.csv") as file:
        reasons = {row["file"].split("/")[-2:][0] + "/" + row["file"].split("/")[-1]: row["reason"]
                   for row in csv.DictReader(file)}  # fmt: skip
    assert "shows one flat color throughout" in reasons["subgroup_000/teleport_00.mp4"]
    assert "must have 8 frames for a window" in reasons["subgroup_000/over_bounce_00.mp4"]
    assert "cannot be decoded" in reasons["subgroup_001/valid_00.mp4"]
    assert "shows the same frames as" in reasons["subgroup_001/teleport_00.mp4"] and len(reasons) == 4


def test_bad_words_get_one_sentence(vjepa, likephys, tmp_path, capsys):
    assert "needs --pairs and --encoder; give them" in fails(capsys, "--benchmark", "likephys")
    whole = ["--pairs", likephys, "--encoder", vjepa, "--out", tmp_path / "out"]
    assert "evaluate benchmark has no '--pairs' in front; it has physics-iq" in fails(capsys, *whole)
    assert "--against FOLDER compares the videos" in fails(capsys, "--videos", likephys, "--encoder", vjepa)
    assert "has no 'dance' in front; it has physics-iq" in fails(capsys, "--benchmark", "dance", *whole)
    assert "--contexts and --skip go with --window" in fails(
        capsys, "--benchmark", "likephys", *whole, "--skip", 2
    )
    assert "must hold scenes such as O1/01" in fails(capsys, "--benchmark", "intphys", *whole)
    assert "must hold metadata.csv, Main/metadata.csv or" in fails(capsys, "--benchmark", "intphys2", *whole)
    (likephys / "metadata.csv").write_text("file_name,type\n")
    assert "SceneIndex, condition miss" in fails(capsys, "--benchmark", "intphys2", *whole)
    assert "at most the encoder's 8 frames; got 16" in fails(
        capsys, "--benchmark", "likephys", *whole, "--window", 16
    )
    whole[1] = tmp_path / "nowhere"
    assert "No folder of pairs at" in fails(capsys, "--benchmark", "likephys", *whole)
    whole[1] = vjepa
    assert "must hold videos such as ball_drop_videos" in fails(capsys, "--benchmark", "likephys", *whole)


def test_an_encoder_is_opened_by_path_class_or_yaml(vjepa, tmp_path):
    for text in (str(vjepa), f"worldgen.encoders.vjepa2.VJEPA2:{vjepa}"):
        assert isinstance(load_encoder(text), VJEPA2)
    yaml = tmp_path / "encoder.yaml"
    yaml.write_text(
        f"class_path: worldgen.encoders.vjepa2.VJEPA2\ninit_args: {{checkpoint: {vjepa}, frames: 4}}"
    )
    assert load_encoder(str(yaml)).frames == 4
    with pytest.raises(FileNotFoundError, match="No encoder's yaml at .*nowhere.yaml"):
        load_encoder(str(tmp_path / "nowhere.yaml"))
    yaml.write_text("a: [")
    with pytest.raises(ValueError, match="must be yaml; it cannot be read"):
        load_encoder(str(yaml))
    yaml.write_text("a: 1")
    with pytest.raises(ValueError, match="must have class_path and init_args of an encoder"):
        load_encoder(str(yaml))
    with pytest.raises(ValueError, match="must name an encoder that can be built: "):
        load_encoder("worldgen.encoders.nothing.Nobody:x")
    with pytest.raises(FileNotFoundError, match="A V-JEPA 2 folder must hold config.json"):
        load_encoder(str(tmp_path))


def test_official_windows_are_shortened_in_proportion(vjepa):
    encoder = VJEPA2(str(vjepa))
    assert fit_windows(encoder, Windows(16, (4, 8, 12), 2, 2)) == Windows(8, (2, 4, 6), 2, 2)
    assert fit_windows(encoder, Windows(8, (2,))) == Windows(8, (2,))
    assert fit_windows(encoder, Windows(48, (2, 46), 2, 10)) == Windows(8, (2, 6), 2, 10)


def test_movies_are_read_with_every_so_many_frames(intphys, likephys):
    frames = read_movie(intphys / "O1" / "01" / "1" / "scene", skip=2)
    assert frames.frames.shape == (1, 4, 3, 32, 32) and float(frames.fps) == 7.5
    torch.testing.assert_close(frames.frames[0], walk(THERE)[::2], atol=1 / 255, rtol=0)
    video = read_movie(likephys / "ball_drop_videos" / "subgroup_000" / "valid_00.mp4", skip=3)
    assert video.frames.shape[1] == 3 and float(video.fps) == pytest.approx(8 / 3, rel=1e-3)


class Grays(Encoder):
    """Token per frame: brightness of the halves."""

    dim = 2

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(20, 20)
        self.freeze()

    def encode(self, clip):
        values = clip.frames.mean(dim=2).unflatten(3, (2, -1)).mean(dim=(2, 4))
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))

    def positions(self, clip):
        t = torch.arange(clip.frames.shape[1]) / clip.fps[0]
        return torch.stack([t, torch.full_like(t, 0.5), torch.full_like(t, 0.5)], -1).expand(
            len(clip), -1, -1
        )


def test_a_run_is_seen_through_an_encoder_beside_the_truth(vjepa):
    def clip(places):
        return Clip(walk(places)[None], torch.tensor([8.0]), ("",))

    truth = [clip([start + step * 2 for step in range(FRAMES)]) for start in range(6)]
    made = [clip([(start * 7 + step * step * 5) % 24 for step in range(FRAMES)]) for start in range(6)]
    model = torch.nn.ModuleDict({"video": Grays()})
    rows = {row.name: row for row in measure_features(model["video"], model, truth, made)}
    assert rows["GeoPhys curvature larger than the truth's (physics)"].value > 0.8
    assert rows["JEDi (fidelity)"].value > 0 and "CIRCULAR" in rows["judging encoder"].note
    rows = {row.name: row for row in measure_features(VJEPA2(str(vjepa)), model, truth, made)}
    share = rows["generated more surprising than the truth, after 4 of 8 frames (physics)"]
    assert 0 <= share.low <= share.value <= share.high <= 1 and "n = 6" in share.note
    assert rows["judging encoder"].note == "not part of the model that is judged"


def test_an_encoder_that_reads_says_how_well_frames_and_prompt_agree(imagebind_folder):
    words = ("a red ball", "a blue ball", "a box", "a hall", "balls", "all")
    truth = [
        Clip(walk([start + step for step in range(FRAMES)])[None], torch.tensor([8.0]), (prompt,))
        for start, prompt in enumerate(words)
    ]
    made = [replace(clip, frames=1 - clip.frames) for clip in truth[:5]] + [replace(truth[5], prompts=("",))]
    judge = ImageBind(imagebind_folder)
    rows = {row.name: row for row in measure_features(judge, torch.nn.Module(), truth, made)}
    for name, clips in (("generated", made[:5]), ("true", truth)):
        row = rows[f"{name} frames and prompt (semantics)"]
        cosines = [judge.embed_vision(clip)[0] @ judge.embed_text(clip.prompts)[0] for clip in clips]
        assert row.value == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-5)
        assert f"n = {len(clips)}" in row.note
    assert "1 clips without a prompt left out" in rows["generated frames and prompt (semantics)"].note
