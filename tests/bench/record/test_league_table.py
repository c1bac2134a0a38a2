"""The league's table joins the scores of both parts, and the README shows the committed one."""

from pathlib import Path

import pandas as pd

from signalprop.bench.record import league_table

ROOT = Path(__file__).parents[3]


def write(folder, name, rows):
    (folder / name).mkdir()
    columns = ["network", "remedy", "optimizer", "label", "kind", "solved", "seeds", "low", "high"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / name / f"{name}.csv", index=False)


def test_every_remedy_has_one_row_with_its_score_on_each_network(tmp_path):
    write(tmp_path, "remedy-league", [
        ("vanishing", "none", "", "none", "failing", 0, 20, 0.0, 0.17),
        ("vanishing", "adam", "", "Adam", "optimiser", 5, 20, 0.09, 0.49),
        ("exploding", "adam", "", "Adam", "optimiser", 20, 20, 0.83, 1.0),
    ])  # fmt: skip
    write(tmp_path, "memory-league", [
        ("memory", "none", "sgd", "none", "failing", 1, 10, 0.0, 0.45),
        ("memory", "none", "adam", "Adam", "optimiser", 8, 10, 0.44, 0.97),
        ("memory", "gru", "sgd", "GRU", "architecture", 2, 10, 0.03, 0.56),
        ("memory", "gru", "adam", "GRU", "architecture", 10, 10, 0.69, 1.0),
    ])  # fmt: skip
    assert league_table.markdown(tmp_path).splitlines() == [
        "| remedy | kind | vanishing | exploding | memory | memory with Adam |",
        "| --- | --- | --- | --- | --- | --- |",
        "| Adam | optimiser | 5/20 (0.09 to 0.49) | 20/20 (0.83 to 1.00) | 8/10 (0.44 to 0.97) | - |",
        "| none | failing | 0/20 (0.00 to 0.17) | - | 1/10 (0.00 to 0.45) | - |",
        "| GRU | architecture | - | - | 2/10 (0.03 to 0.56) | 10/10 (0.69 to 1.00) |",
    ]


def test_there_is_no_table_while_a_part_is_missing(tmp_path):
    assert league_table.markdown(tmp_path) == ""


def test_the_readme_shows_the_committed_league():
    assert league_table.markdown(ROOT / "results") in (ROOT / "README.md").read_text()
