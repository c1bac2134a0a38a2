"""The table of claims and the page."""

import re

import pytest

from signalprop.bench.engine.errors import StoreError
from signalprop.bench.record import report, verdict
from signalprop.bench.record.claims import CLAIMS


@pytest.fixture
def folder(tmp_path):
    """Results of one experiment."""
    place = tmp_path / "matrix-product"
    place.mkdir()
    (place / "growth.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    judged = verdict.judge(
        ["C7"], "Entries <grow> | fast.", "Newman 1986", measured=24.0, predicted=23.9, tolerance=0.5,
        tolerance_from="5 standard errors", claim="right after repair", correction="There are 101 factors.",
    )  # fmt: skip
    verdict.write(place / "verdicts.json", [judged])
    return tmp_path


def test_every_verdict_has_its_row_and_every_figure_its_picture(folder) -> None:
    readme, page = (path.read_text() for path in report.write(folder))
    assert "| C7 |" in readme
    assert "There are 101 factors." in readme
    assert "![growth](matrix-product/growth.png)" in readme
    assert "&lt;grow&gt;" in page
    assert "data:image/svg+xml;base64," in page


def test_the_page_asks_for_nothing_from_elsewhere(folder) -> None:
    page = report.write(folder)[1].read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_tables_have_as_many_cells_as_columns(folder) -> None:
    rows = [line for line in report.write(folder)[0].read_text().splitlines() if line.startswith("|")]
    cells = [len(re.split(r"(?<!\\)\|", row)) for row in rows]
    assert sorted(set(cells)) == [8, 10]
    asides = sum(bool(claim.aside) for claim in CLAIMS)
    assert sum(n == 8 for n in cells) == 2 + 1 + asides, "a claim has one row"


def test_a_folder_without_verdicts_is_refused(tmp_path) -> None:
    with pytest.raises(StoreError, match="no verdicts"):
        report.write(tmp_path)
