"""The remedy league as one table: every remedy with its score on each of the three failing networks."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

PARTS = {"remedy-league": "remedy-league.csv", "memory-league": "memory-league.csv"}
NETWORKS = ("vanishing", "exploding", "memory")
BY_OPTIMIZER = {
    "heavy_ball": "momentum",
    "nesterov": "nesterov",
    "adagrad": "adagrad",
    "rmsprop": "rmsprop",
    "adam": "adam",
}
COLUMNS = (*NETWORKS, "memory with Adam")
NOT_RUN = "-"


class Score(NamedTuple):
    """What a remedy scored on one network: networks that learnt of those scored, and the share's interval."""

    network: str
    remedy: str
    optimizer: str
    label: str
    kind: str
    solved: int
    seeds: int
    low: float
    high: float


def markdown(folder: Path) -> str:
    """The table in Markdown, from the committed numbers under ``folder``; empty if a part is missing.

    A cell holds the networks that learnt of those scored, and the exact 95 % interval of the share. Remedies
    are ranked by the mean share over the networks they were run on; those of recurrent networks alone come
    last.
    """
    files = [folder / name / file for name, file in PARTS.items()]
    if not all(file.exists() for file in files):
        return ""
    rows = _rows(*map(_scores, files))
    names = sorted(rows, key=lambda name: (_only_recurrent(rows[name]), -_share(rows[name])))
    lines = [f"| remedy | kind | {' | '.join(COLUMNS)} |", "| --- | --- |" + " --- |" * len(COLUMNS)]
    for name in names:
        row = rows[name]
        cells = [_cell(row["scores"][column]) if column in row["scores"] else NOT_RUN for column in COLUMNS]
        lines.append(f"| {row['label']} | {row['kind']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _scores(file: Path) -> list[Score]:
    """The scores in a part's table; feed-forward networks are not told apart by their optimizer."""
    with file.open(newline="") as table:
        return [
            Score(
                row["network"], row["remedy"], row.get("optimizer", ""), row["label"], row["kind"],
                int(row["solved"]), int(row["seeds"]), float(row["low"]), float(row["high"]),
            )
            for row in csv.DictReader(table)
        ]  # fmt: skip


def _rows(feed_forward: list[Score], memory: list[Score]) -> dict[str, dict[str, Any]]:
    """Label, kind and scores of every remedy by its name."""
    rows: dict[str, dict[str, Any]] = {}

    def add(name: str, column: str, score: Score) -> None:
        row = rows.setdefault(name, {"label": score.label, "kind": score.kind, "scores": {}})
        row["scores"][column] = score

    for score in feed_forward:
        add(score.remedy, score.network, score)
    for score in memory:
        remedy, optimizer = score.remedy, score.optimizer
        if remedy == "none" and optimizer in BY_OPTIMIZER:
            add(BY_OPTIMIZER[optimizer], "memory", score)
        else:
            add(remedy, "memory" if optimizer == "sgd" else "memory with Adam", score)
    return rows


def _share(row: dict[str, Any]) -> float:
    """Mean share of successes over the three networks, of those on which the remedy was run."""
    shares = [score.solved / score.seeds for name, score in row["scores"].items() if name in NETWORKS]
    return sum(shares) / len(shares) if shares else 0.0


def _only_recurrent(row: dict[str, Any]) -> bool:
    return not {"vanishing", "exploding"} & set(row["scores"])


def _cell(score: Score) -> str:
    return f"{score.solved}/{score.seeds} ({score.low:.2f} to {score.high:.2f})"
