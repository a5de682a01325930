"""A server as a person starts it: refusals in a sentence, and a name for each run."""

import socket
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.server.folder import ServerFolder
from worldgen.server.serve import name_runs, open_port

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "assets/nano/generator"


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["serve", *words, "--no-browser"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    return error


def test_what_keeps_a_server_from_starting_is_a_sentence(capsys, tmp_path):
    with open_port(0) as taken:
        port = str(taken.getsockname()[1])
        assert f"Port {port} is in use. Name another with --port" in fails(
            capsys, "--port", port, "--out", str(tmp_path)
        )
    with ServerFolder(tmp_path).locked():
        assert "Another server works in" in fails(capsys, "--port", "0", "--out", str(tmp_path))
    assert "must be a run folder" in fails(capsys, str(tmp_path), "--out", str(tmp_path))
    assert "letters and digits" in fails(capsys, "--token", "a b&c", "--out", str(tmp_path))
    assert "--port must be from 0 to 65,535" in fails(capsys, "--port", "70000")


def test_runs_of_one_name_are_told_apart(tmp_path):
    for place in ("a/run", "b/run"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.yaml").touch()
    found = name_runs([tmp_path / "a/run", tmp_path / "b/run", tmp_path / "a/../a/run", RUN])
    assert found == {"run": tmp_path / "a/run", "b/run": tmp_path / "b/run", "generator": RUN}


def test_the_port_is_of_this_machine_only():
    with open_port(0) as door:
        host, port = door.getsockname()
        assert host == "127.0.0.1"
        with socket.create_connection((host, port), timeout=5):
            pass
