"""What comes from elsewhere runs no code: neither a checkpoint's folder nor a scene."""

import ast
import json
from pathlib import Path

import pytest

from worldgen.data.shards.captioners import Captioner
from worldgen.encoders.clip import CLIP
from worldgen.encoders.imagebind_inputs import read_tokenizer
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.metrics.tracking.detector import PretrainedDetector
from worldgen.metrics.vlm.judge import LocalJudge

PACKAGE = Path(__file__).parents[2] / "worldgen"


def test_every_auto_class_is_told_to_run_no_code():
    found = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("Auto"):
                if not ast.unparse(call.func).endswith(".from_pretrained"):
                    continue
                told = {word.arg: ast.unparse(word.value) for word in call.keywords}
                assert told.get("trust_remote_code") == "False", f"{path}:{call.lineno}"
                found += 1
    assert found > 8


@pytest.mark.parametrize(
    "open_checkpoint",
    [T5, VJEPA2, CLIP, PretrainedDetector, LocalJudge, Captioner, lambda name: read_tokenizer(name, 600)],
    ids=["t5", "vjepa2", "clip", "detector", "judge", "captioner", "tokenizer"],
)
@pytest.mark.parametrize("kind", ["t5", "strange"])
def test_a_folder_with_code_is_refused_without_a_question(open_checkpoint, kind, tmp_path, monkeypatch):
    def ask(*words):
        raise AssertionError("asked whether to run a folder's code")

    monkeypatch.setattr("builtins.input", ask)
    ran = tmp_path / "ran"
    classes = [
        f"Auto{name}"
        for name in ("Config", "Model", "ModelForTextEncoding", "ModelForImageTextToText", "Processor")
    ] + ["AutoTokenizer", "AutoImageProcessor", "AutoModelForObjectDetection", "AutoVideoProcessor"]
    mapped = {name: "evil.Evil" if name != "AutoTokenizer" else ["evil.Evil", None] for name in classes}
    for file in ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        (tmp_path / file).write_text(json.dumps({"model_type": kind, "auto_map": mapped}))
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n\n\nclass Evil:\n    pass\n")
    with pytest.raises(ValueError, match="must "):
        open_checkpoint(str(tmp_path))
    assert not ran.exists()
