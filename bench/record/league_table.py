"""The remedy league as one table: every remedy with its score on each of the three failing networks."""

from pathlib import Path
from typing import Any

import pandas as pd

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


def markdown(folder: Path) -> str:
    """The table in Markdown, from the committed numbers under ``folder``; empty if a part is missing.

    A cell holds the networks that learnt of those scored, and the exact 95 % interval of the share. Remedies
    are ranked by the mean share over the networks they were run on; those of recurrent networks alone come
    last.
    """
    files = [folder / name / file for name, file in PARTS.items()]
    if not all(file.exists() for file in files):
        return ""
    rows = _rows(pd.read_csv(files[0]), pd.read_csv(files[1]))
    names = sorted(rows, key=lambda name: (_only_recurrent(rows[name]), -_share(rows[name])))
    lines = [f"| remedy | kind | {' | '.join(COLUMNS)} |", "| --- | --- |" + " --- |" * len(COLUMNS)]
    for name in names:
        row = rows[name]
        cells = [_cell(row["scores"][column]) if column in row["scores"] else NOT_RUN for column in COLUMNS]
        lines.append(f"| {row['label']} | {row['kind']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(feed_forward: pd.DataFrame, memory: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Label, kind and scores of every remedy by its name."""
    rows: dict[str, dict[str, Any]] = {}

    def add(name: str, column: str, score: Any) -> None:
        row = rows.setdefault(name, {"label": score.label, "kind": score.kind, "scores": {}})
        row["scores"][column] = score

    for score in feed_forward.itertuples():
        add(str(score.remedy), str(score.network), score)
    for score in memory.itertuples():
        remedy, optimizer = str(score.remedy), str(score.optimizer)
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


def _cell(score: Any) -> str:
    return f"{score.solved}/{score.seeds} ({score.low:.2f} to {score.high:.2f})"
