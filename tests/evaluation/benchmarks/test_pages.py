"""What the page of a benchmark holds."""

import json

from tests.report.pages import holds_summary, read_whole
from worldgen.report.markup import format_number


def test_the_page_holds_the_summary_every_view_and_what_is_missing(evaluated):
    page = (evaluated[2] / "report.html").read_text()
    report = json.loads((evaluated[2] / "report.json").read_text())
    outline = read_whole(page)
    holds_summary(page, report["summary"])
    assert outline.tags.count("svg") == 1 and "http" not in page
    table = page[page.index("View by view") : page.index("What is missing")]
    assert table.count("<tr>") == 1 + 7
    for view in report["views"]:
        assert f"<td>{view['scenario']}</td><td>{view['view']}</td>" in table
        assert format_number(view["mse"]) in table and format_number(view["spatial second take"]) in table
    assert f"{len(report['missing'])} files are not there" in page
    assert '<td>generated video missing</td><td class="number">190</td>' in page
    assert "spatial and weighted spatial IoU</b> cannot see: time reversal, shuffled frames" in page
    assert "worldgen evaluate --benchmark physics-iq --generated" in page
