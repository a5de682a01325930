"""Runs and studies are shown as they are on the disk, or what is missing of them."""

from pathlib import Path

from worldgen.server.browsing import run_row, study_row

RUN = Path(__file__).resolve().parents[2] / "assets/nano/generator"


def test_a_run_tells_what_a_page_needs(tmp_path):
    row = run_row(RUN, "mine")
    assert (row["name"], row["state"], row["slots"], row["steps"]) == ("mine", "finished", ["text"], 2)
    assert row["config"]["model.denoiser.init_args.depth"] == 4
    assert row["config"]["model.conditioner.init_args.video"] is None
    gone = run_row(tmp_path / "gone", "gone")
    assert gone["state"] == "gone" and str(tmp_path) not in str(gone)


def test_a_study_is_its_table_or_has_none_yet(tmp_path):
    assert study_row(tmp_path, "one") == {"name": "one", "rows": [], "problem": "It has no table.csv (yet)."}
    (tmp_path / "table.csv").write_text("arm,measure,mean\nbase,RMSE,1.5\nno_text,RMSE,2\n")
    rows = study_row(tmp_path, "one")["rows"]
    assert rows[1] == {"arm": "no_text", "measure": "RMSE", "mean": "2"}
