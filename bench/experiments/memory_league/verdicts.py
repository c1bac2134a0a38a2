"""Verdicts of ``memory-league``: what each class of remedies does for memory, and what theory says before."""

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from signalprop.bench.experiments.memory_league.competitors import ALONE, PARTS
from signalprop.bench.experiments.memory_league.scores import scores
from signalprop.bench.measure.estimates import share_and_error
from signalprop.bench.record.verdict import FEWEST, Verdict, compare, judge, observe, surely

PASCANU = "Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063"
HOCHREITER = "Hochreiter & Schmidhuber (1997), Neural Computation 9(8)"
SAME = 1e-3  # decades between two programs that compute the same in float32
PATHS = ("lstm_forget_0", "lstm_forget_1", "gru")
RIGHT_LIST = (
    "For memory the list is uneven: what counts is a path along which the state is added up, and an "
    "optimizer that rescales small gradients. Clipping makes steps safe, and penalties do not bring memory."
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the gradient before training, then every class of remedies that was run."""
    rows = scores(result)
    names = [str(r) for r in result["remedy"].values]
    return [
        *_gradient(result, names),
        *_unchanged(result, names),
        *_descent(rows),
        *_clipping(rows, names),
        *_exploding(rows),
        *_penalties(rows),
        *_paths(rows),
        *_best(rows),
        *_rank(rows),
    ]


def _row(rows: pd.DataFrame, remedy: str, optimizer: str) -> pd.Series | None:
    found = rows[(rows["remedy"] == remedy) & (rows["optimizer"] == optimizer)]
    return None if found.empty else found.iloc[0]


def _words(row: pd.Series) -> str:
    name = {"sgd": "plain", "adam": "Adam"}.get(row.optimizer, row.optimizer)
    where = f" ({name})" if row.optimizer not in ALONE and row.label != "Adam" else ""
    return f"{row.label}{where} {row.solved}/{row.seeds} ({row.low:.2f} to {row.high:.2f})"


def _pooled(rows: pd.DataFrame) -> tuple[float, float]:
    """Share of successes over rows, and its standard error."""
    return share_and_error(int(rows["solved"].sum()), int(rows["seeds"].sum()))


def _listed(rows: pd.DataFrame) -> str:
    return "; ".join(_words(row) for _, row in rows.iterrows())


def _gradient(result: xr.Dataset, names: list[str]) -> list[Verdict]:
    """Decades over the sequence before training, of plain starts, against the mean field."""
    kept, seeds = [n for n in names if n in ("none", "orthogonal", "relu")], result.sizes["seed"]
    if not kept or seeds < FEWEST:
        return []
    return compare(
        ["C17"], f"Decades that the answer's gradient loses over {int(result['length'])} steps before "
        "training (none, orthogonal, relu), against the mean field of untied weights with its "
        "correction for the width", PASCANU,
        -_start(result).sel(remedy=kept), -result["decades_predicted"].sel(remedy=kept),
        tolerance_from=surely(seeds), claim="right after repair", correction=RIGHT_LIST,
    )  # fmt: skip


def _start(result: xr.Dataset) -> xr.DataArray:
    """Decades before training, of any optimizer: all of them start from the same networks."""
    start: xr.DataArray = result["decades"].isel(moment=0).max("optimizer")
    return start


def _unchanged(result: xr.Dataset, names: list[str]) -> list[Verdict]:
    """Clipping and penalties change nothing before training."""
    kept = [n for n in names if n in ("clip_norm", "clip_value", "l2", "l1")]
    if "none" not in names or not kept:
        return []
    at = _start(result)
    apart = np.abs(at.sel(remedy=kept) - at.sel(remedy="none", drop=True))
    return [
        judge(
            ["C31", "C17"], "Decades lost before training with clipping or a penalty, less those without, of "
            "the same networks: largest difference", PASCANU,
            measured=float(apart.max()), predicted=0.0, tolerance=SAME,
            tolerance_from="two compiled programs in float32", claim="right after repair",
            correction=RIGHT_LIST,
        )
    ]  # fmt: skip


def _descent(rows: pd.DataFrame) -> list[Verdict]:
    """The failing network with every optimizer."""
    alone = rows[rows["remedy"] == "none"]
    if alone.empty:
        return []
    others = alone[alone["optimizer"] != "sgd"]
    share, error = _pooled(others if len(others) else alone)
    return [
        observe(
            ["C17"], "The tanh network without any other remedy, solved with exact 95 % intervals: "
            f"{_listed(alone)}. Share solved with the optimizers that are a remedy", PASCANU,
            measured=share, uncertainty=error, claim="right after repair", correction=RIGHT_LIST,
        )
    ]  # fmt: skip


def _clipping(rows: pd.DataFrame, names: list[str]) -> list[Verdict]:
    """Pairs of competitors with and without clipping by norm, with each optimizer."""
    pairs = []
    for name in names:
        parts = name.split("+")
        if "clip_norm" not in parts:
            continue
        bare = "+".join(part for part in parts if part != "clip_norm") or "none"
        for optimizer in ("sgd", "adam"):
            one, other = _row(rows, name, optimizer), _row(rows, bare, optimizer)
            if one is not None and other is not None:
                pairs.append((one, other))
    if not pairs:
        return []
    n = sum(int(one.seeds) for one, _ in pairs)
    k, plain = (sum(int(p[i].solved) for p in pairs) for i in (0, 1))
    (_, error), (_, other_error) = share_and_error(k, n), share_and_error(plain, n)
    p = stats.fisher_exact([[k, n - k], [plain, n - plain]]).pvalue
    sure = p < 0.05
    words = "; ".join(f"{_words(one)} against {_words(other)}" for one, other in pairs)
    return [
        observe(
            ["D24", "C30"], f"Clipping by norm against none, at the tuned rate of each: {words}. Gain in the "
            f"share solved (Fisher, as if independent: p = {p:.1g})", PASCANU,
            measured=(k - plain) / n, uncertainty=float(np.hypot(error, other_error)),
            claim=("right" if k > plain else "wrong") if sure else "not checkable",
            correction="" if sure and k > plain else "Clipping cost successes here." if sure else
            "No difference beyond chance in this budget.",
        )
    ]  # fmt: skip


def _exploding(rows: pd.DataFrame) -> list[Verdict]:
    """Relu networks, whose gradients explode with plain gradient descent, with and without clipping."""
    bare, clipped = (_row(rows, n, "sgd") for n in ("relu", "relu+clip_norm"))
    if bare is None or clipped is None:
        return []
    adam = [row for n in ("relu", "relu+clip_norm") if (row := _row(rows, n, "adam")) is not None]
    words = "; ".join(f"{_words(row)}, {row.diverged} diverge" for row in (bare, clipped, *adam))
    learns = int(clipped.solved) + int(bare.solved) > 0
    share, error = share_and_error(bare.diverged, bare.seeds)
    return [
        observe(
            ["C8"], f"Relu networks, whose first steps explode: {words}. Share of networks that diverge with "
            "plain gradient descent and no clipping", PASCANU,
            measured=share, uncertainty=error, claim="right after repair",
            correction="Plain gradient descent diverges; with clipping the same networks "
            + ("learn." if learns else "stay finite, and still do not learn in this budget."),
        )
    ]  # fmt: skip


def _penalties(rows: pd.DataFrame) -> list[Verdict]:
    """Penalties on weights, and the regulariser Omega, with each optimizer."""
    kept = rows[rows["remedy"].isin(["l2", "l1", "omega"])]
    if kept.empty:
        return []
    share, error = _pooled(kept)
    base = rows[(rows["remedy"] == "none") & rows["optimizer"].isin(["sgd", "adam"])]
    return [
        observe(
            ["C18"], "Penalties on weights, and Omega on the change of the gradient's size: "
            f"{_listed(kept)}. Without: {_listed(base)}. Share solved with a penalty", PASCANU,
            measured=share, uncertainty=error, claim="right after repair",
            correction="Penalties bring no memory here; they can steady a training that already works."
            if share == 0 else "Some networks learn with a penalty; compare with those without.",
        )
    ]  # fmt: skip


def _paths(rows: pd.DataFrame) -> list[Verdict]:
    """Cells with an additive path, with each optimizer."""
    found = []
    for optimizer, how in (("sgd", "plain gradient descent"), ("adam", "Adam")):
        kept = rows[rows["remedy"].isin(PATHS) & (rows["optimizer"] == optimizer)]
        if kept.empty:
            continue
        share, error = _pooled(kept)
        found.append(
            observe(
                ["C17"], f"Cells whose state is added up, with {how}: {_listed(kept)}. Share solved",
                HOCHREITER, measured=share, uncertainty=error, claim="right after repair",
                correction="The popular list lacks the remedy that works best for memory: gates around an "
                "additive path. They need an optimizer that rescales gradients within this budget.",
            )
        )  # fmt: skip
    return found


def _best(rows: pd.DataFrame) -> list[Verdict]:
    """Who leads, and how many remedies ever help."""
    listed = rows[rows["remedy"].isin([*PARTS]) & ~rows["remedy"].isin([*PATHS, "none", "flossing"])]
    if listed.empty or not np.isfinite(rows["steps"]).any():
        return []
    learnt = rows[np.isfinite(rows["steps"])].head(4)
    first = "; ".join(f"{_words(row)}, {row.steps:.0f} updates" for _, row in learnt.iterrows())
    any_of = listed.groupby("remedy")["solved"].max() > 0
    return [
        observe(
            ["C17", "C18"], f"The first of {len(rows)} rows of the league: {first}. Single remedies "
            f"other than gates and flossing that make at least one network learn, of {len(any_of)}: "
            "share", PASCANU,
            measured=float(any_of.mean()), claim="right after repair", correction=RIGHT_LIST,
        )
    ]  # fmt: skip


def _rank(rows: pd.DataFrame) -> list[Verdict]:
    """Decades kept before training against success, over remedies, with Adam."""
    kept = rows[(rows["optimizer"] == "adam") & np.isfinite(rows["decades_lost_start"])]
    share = kept["solved"] / kept["seeds"]
    if len(kept) < 4 or share.nunique() < 2 or kept["decades_lost_start"].nunique() < 2:
        return []
    rank = stats.spearmanr(np.abs(kept["decades_lost_start"]), share)
    sure = rank.pvalue < 0.05
    return [
        observe(
            ["C17"], f"Rank correlation over {len(kept)} remedies with Adam of the decades that the gradient "
            "loses or gains over the sequence before training with the share solved "
            f"(p = {rank.pvalue:.1g})", PASCANU,
            measured=float(rank.statistic), claim="right after repair",
            correction=("A gradient kept at initialization goes with success."
                        if rank.statistic < 0 else "A gradient kept at initialization goes with failure "
                        "here.")
            if sure else "The gradient at initialization alone does not predict who learns to remember.",
        )
    ]  # fmt: skip
