"""What clients may ask for is read, refused and described from one table."""

import pytest

from worldgen.server.asks import (
    KINDS,
    LONGEST_PROMPT,
    SLOTS,
    EvaluateAsk,
    GenerateAsk,
    SimulateAsk,
    ask_document,
    ask_schema,
    read_ask,
    require_id,
    uploads_of,
)

ID = "0123456789abcdef" * 2
GENERATE = {"kind": "generate", "run": "generator", "upload": ID}


def test_what_is_left_out_is_filled_in_and_what_is_read_reads_again():
    kind, ask = read_ask({**GENERATE, "prompt": "a ball drops", "seed": 7})
    assert ask == GenerateAsk("generator", ID, "a ball drops", 7)
    assert read_ask(ask_document(kind, ask)) == (kind, ask)
    assert read_ask({"kind": "simulate", "fps": 10}) == ("simulate", SimulateAsk(fps=10.0))


@pytest.mark.parametrize(
    "document, said",
    [
        ([], '"kind" is one of generate, evaluate, simulate'),
        ({"kind": "dance"}, '"kind" is one of'),
        ({"kind": "evaluate"}, "must say 'upload'. Id of an uploaded video."),
        ({**GENERATE, "out": "/etc/passwd"}, "has no field 'out'; it has run, upload"),
        ({**GENERATE, "upload": "../../secret"}, "32 hex digits"),
        ({**GENERATE, "upload": ID + "\n"}, "32 hex digits"),
        ({**GENERATE, "prompt": "x" * 100_000}, f"at most {LONGEST_PROMPT} letters; got 100000"),
        ({**GENERATE, "prompt": "\ud800"}, "a character that no text has"),
        ({**GENERATE, "seed": True}, "'seed' must be a whole number; got 'True'"),
        ({**GENERATE, "seed": -1}, "'seed' must be from 0 to"),
        ({**GENERATE, "seed": 1.5}, "'seed' must be a whole number"),
        ({**GENERATE, "frames": 10**9}, "'frames' must be from 1 to 400"),
        ({**GENERATE, "judge": 1}, "'judge' must be true or false"),
        ({**GENERATE, "without": ["sound"]}, "'without' must be a list of text, video, multimodal"),
        ({**GENERATE, "without": "text"}, "'without' must be a list of text"),
        ({**GENERATE, "guidance": {"sound": 2}}, "'guidance' must be an object of numbers by condition"),
        ({**GENERATE, "guidance": {"text": "2"}}, "'guidance' must be an object of numbers"),
        ({**GENERATE, "guidance": {"text": float("inf")}}, "'guidance' must be from 0 to 100"),
        ({**GENERATE, "steps": 0}, "'steps' must be from 1 to 200"),
        ({**GENERATE, "strength": 1.1}, "'strength' must be from 0 to 1"),
        ({"kind": ["generate"]}, '"kind" is one of'),
        ({"kind": "evaluate", "upload": ""}, "32 hex digits"),
        ({"kind": "simulate", "size": 100_000}, "'size' must be from 1 to 256"),
        ({"kind": "simulate", "fps": float("nan")}, "'fps' must be from"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(document, said):
    with pytest.raises(ValueError) as error:
        read_ask(document)
    assert said in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_says_what_is_read(kind):
    schema = ask_schema(kind)
    assert schema["properties"]["kind"] == {"const": kind} and schema["additionalProperties"] is False
    values = {name: part.get("default") for name, part in schema["properties"].items()}
    values |= {"kind": kind, **({"upload": ID} if "upload" in values else {})}
    values |= {"without": ["video"], "guidance": {"text": 2.0}} if kind == "generate" else {}
    values |= {"run": "generator"} if "run" in values else {}
    assert ask_document(*read_ask(values)) == values
    assert all("description" in part for name, part in schema["properties"].items() if name != "kind")


def test_every_upload_of_a_job_is_known():
    assert uploads_of(GenerateAsk("generator", ID, edit=ID)) == [ID, ID]
    assert uploads_of(EvaluateAsk(ID)) == [ID] and uploads_of(SimulateAsk()) == []


def test_conditions_are_those_of_a_conditioner():
    from worldgen import conditioning

    assert conditioning.SLOTS == SLOTS


def test_an_id_is_what_the_server_gave_out():
    assert require_id(ID) == ID
    for text in ("", ID[:-1], ID.upper(), f"../{ID}", "." * 32):
        with pytest.raises(ValueError, match="32 hex digits"):
            require_id(text)
