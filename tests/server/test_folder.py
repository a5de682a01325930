"""What a server keeps is there for the next one."""

import os

import pytest

from worldgen.server.folder import JobRecord, ServerFolder, new_id


def test_finished_jobs_stay_and_a_running_one_is_interrupted(tmp_path):
    folder = ServerFolder(tmp_path)
    records = [
        JobRecord(new_id(), {}, state, created)
        for created, state in enumerate(("done", "running", "waiting"))
    ]
    for record in records:
        folder.write_job(record)
    (tmp_path / "jobs" / new_id()).mkdir()
    broken = tmp_path / "jobs" / new_id()
    broken.mkdir()
    (broken / "job.json").write_text("{")
    for _ in range(2):  # and it is kept so
        found = ServerFolder(tmp_path).read_jobs()
        assert [record.state for record in found] == ["done", "interrupted", "waiting"]
        assert found[0] == records[0] and found[2] == records[2]
    assert "Ask for it again." in found[1].error and found[1].ended is not None


def test_two_servers_do_not_share_a_folder(tmp_path):
    with ServerFolder(tmp_path).locked():
        second = ServerFolder(tmp_path).locked()
        with pytest.raises(ValueError, match="Another server works in .* another --out"):
            second.__enter__()
    with ServerFolder(tmp_path).locked():
        pass


def test_the_oldest_uploads_go_but_those_that_are_needed(tmp_path):
    folder = ServerFolder(tmp_path)
    kept = []
    for age in range(4):
        partial = tmp_path / "x"
        partial.write_bytes(b"x" * 10)
        kept.append(folder.keep_upload(partial, f"{age}.png", ".png"))
        os.utime(tmp_path / "uploads" / f"{kept[-1].id}.json", (age, age))
    folder.remove_uploads(2, {kept[0].id})
    assert [folder.find_upload(kept[n].id).name for n in (0, 2, 3)] == ["0.png", "2.png", "3.png"]
    with pytest.raises(FileNotFoundError, match="Upload the file again"):
        folder.upload_path(kept[1].id)
    assert not list((tmp_path / "uploads").glob(f"{kept[1].id}*"))
    with pytest.raises(ValueError, match="32 hex digits"):
        folder.upload_path("../lock")
