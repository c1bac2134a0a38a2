"""Verdicts of ``long-lag-tasks``: clipping, relu, gates, the forget bias, and a vanished gradient."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.bench.drawings.long_lag_tasks import best, kept_decades, title, wilson
from signalprop.bench.remedies import remedy
from signalprop.bench.verdict import Verdict, judge, observe

UNGATED = ("tanh", "omega", "orthogonal", "relu", "irnn")
SIMPLER = ("lstm_1997", "gru", "minimal_rnn")  # than an LSTM with a forget gate
VANISHED = 3  # decades below which we call a gradient vanished
GUESSING = 0.15  # share of symbols recalled that still counts as guessing one of eight
ARJOVSKY = "Arjovsky, Shah & Bengio (2016), arXiv:1511.06464"
PASCANU = "Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063"
LE = "Le, Jaitly & Hinton (2015), arXiv:1504.00941"
JOZEFOWICZ = "Jozefowicz, Zaremba & Sutskever (2015), ICML 37"
HOCHREITER = "Hochreiter & Schmidhuber (1997), Neural Computation 9(8)"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge clipping, relu, gates, the forget bias and what a vanished gradient means."""
    at = best(result.assign(kept=kept_decades(result)))
    networks = set(map(str, result["network"].values))
    found = [_vanished(at), _rank(at), *_no_memory(at)]
    if {0.0} < set(result["clip_norm"].values):
        found += [_clipping(result), _ungated(at)]
    if {"tanh", "irnn"} <= networks:
        found.append(_relu(at))
    if {"tanh", "orthogonal"} <= networks:
        found.append(_unit_gain(at))
    if {"lstm_forget_0", "lstm_forget_1"} <= networks:
        found.append(_forget_bias(at))
    if "lstm_forget_1" in networks and networks & set(SIMPLER):
        found.append(_simple_gates(at))
    return found


def _rate(solved: xr.DataArray) -> tuple[int, int, float, str]:
    """Number of successes, of networks, the standard error of the rate, and all of it in words."""
    k, n = int(solved.sum()), solved.size
    low, high = wilson(k, n)
    return (
        k,
        n,
        float(np.sqrt(k / n * (1 - k / n) / n)),
        f"{k} of {n} (95 % interval {low:.2f} to {high:.2f})",
    )


def _error(gain: xr.DataArray | np.ndarray) -> float:
    """Standard error of the mean."""
    return float(gain.std(ddof=1) / np.sqrt(gain.size))


def _resolved(gain: xr.DataArray) -> str:
    """The sentence that closes a correction where the difference may be chance."""
    clear = abs(float(gain.mean())) > 2 * _error(gain)
    return "" if clear else " The difference in successes is within two standard errors here."


def _tasks(at: xr.Dataset) -> str:
    return "; ".join(title(str(task)) for task in at["task"].values)


def _vanished(at: xr.Dataset) -> Verdict:
    """Networks whose gradient had vanished over the whole sequence before training, and which learned."""
    gone = at["kept"] < -VANISHED
    k, n = int((at["solved"].where(gone) > 0).sum()), int(gone.sum())
    low, high = wilson(k, max(n, 1))
    return observe(
        ["D11"], f"Networks whose gradient over the whole sequence is below 1e-{VANISHED} before training: "
        f"{k} of {n} learn the task (95 % interval {low:.2f} to {high:.2f})", PASCANU,
        measured=k / max(n, 1), claim="right after repair" if k else "not checkable",
        correction="A vanished gradient is a statement about one point in weight space. Training starts from "
        "the shorter lags and raises the gradient on its way." if k else "",
    )  # fmt: skip


def _rank(at: xr.Dataset) -> Verdict:
    """Rank correlation of the distance of the exponent from 0 and the final loss, task by task."""
    ranks = []
    for task in at["task"].values:
        chosen = at.sel(task=task).isel(clip_norm=-1).stack(x=("network", "seed"))
        loss = chosen["test_loss"].fillna(np.inf)
        ranks.append(float(stats.spearmanr(np.abs(chosen["kept"]), loss, nan_policy="omit").statistic))
    spread = float(np.std(ranks, ddof=1) / np.sqrt(len(ranks))) if len(ranks) > 1 else 0.0
    mean = float(np.mean(ranks))
    each = ", ".join(f"{r:+.2f}" for r in ranks)
    return observe(
        ["D11"], "Rank correlation, over networks, of the decades that the untrained gradient loses or gains "
        f"over the sequence with the loss after training: {each} ({_tasks(at)}); mean", PASCANU,
        measured=mean, uncertainty=spread, claim="right after repair",
        correction="At these lengths what is left of the gradient at initialization "
        + ("is one predictor of success." if mean > 2 * spread else "does not predict success."),
    )  # fmt: skip


def _no_memory(at: xr.Dataset) -> list[Verdict]:
    """The loss of networks that recall no better than guessing, against that of the best guess."""
    copying = at.isel(task=[str(task).startswith("copying") for task in at["task"].values])
    if not (guess := copying["correct"] < GUESSING).any():
        return []
    ratio = (copying["test_loss"] / copying["test_loss_predicted"]).where(guess)
    x = ratio.values[np.isfinite(ratio.values)]
    return [
        judge(
            ["D5"], f"Copying: {x.size} of {guess.size} networks recall less than {GUESSING:.0%} of the "
            "symbols after training. Their loss is that of no memory, 10 log(8) / (T + 20): median ratio",
            ARJOVSKY, measured=float(np.median(x)), predicted=1.0,
            uncertainty=float(x.std() / np.sqrt(x.size)),
            tolerance=0.05, tolerance_from="a twentieth: more than recalling 15 % instead of 1 in 8 can save",
        )
    ]  # fmt: skip


def _clipping(result: xr.Dataset) -> Verdict:
    """Pairs of equal networks and sequences, one clipped and one not, at all learning rates."""
    pairs = result["solved"].transpose("clip_norm", ...).values
    hoping, clipped = pairs[0].ravel() > 0, pairs[-1].ravel() > 0
    better, worse = int((clipped & ~hoping).sum()), int((hoping & ~clipped).sum())
    p = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    gain = clipped.astype(float) - hoping
    sure = p < 0.05
    return observe(
        ["D24"], f"{gain.size} pairs of networks that differ in clipping: {better} succeed with it alone, "
        f"{worse} without it alone (sign test as if all pairs were independent, p = {p:.2g}); gain in "
        "success rate", PASCANU,
        measured=float(gain.mean()), uncertainty=_error(gain),
        claim=("right" if better > worse else "wrong") if sure else "not checkable",
        correction="" if sure and better > worse else "No difference shows at these lengths and this number "
        "of networks." if not sure else "Clipping cost successes here.",
    )  # fmt: skip


def _ungated(at: xr.Dataset) -> Verdict:
    """The best network with neither gates nor clipping, on the tasks that any network solves."""
    solvable = at["solved"].mean("seed").max(("network", "clip_norm")) > 0
    solved = at["solved"].isel(task=np.flatnonzero(solvable))
    plain = solved.sel(clip_norm=0, network=[m for m in at["network"].values if str(m) in UNGATED])
    if plain.size == 0:
        return observe(
            ["D6"], f"No network solves a task: {_tasks(at)}", LE, measured=0, claim="not checkable"
        )
    winner = str(plain["network"][int(np.argmax(plain.mean(("task", "seed")).values))].values)
    k, n, error, words = _rate(plain.sel(network=winner))
    return observe(
        ["D6"], f"{remedy(winner).label}, without gates and without clipping, solves {words}, over the tasks "
        f"that any network solves: {_tasks(at.isel(task=np.flatnonzero(solvable)))}", LE,
        measured=k / n, uncertainty=error, claim="right after repair" if k else "right",
        correction="At these lengths a good start or activation is enough. Clipping limits steps, restores "
        "no vanished gradient, and makes learning surer." if k else "",
    )  # fmt: skip


def _unit_gain(at: xr.Dataset) -> Verdict:
    """Two ways to keep a tanh network's step near an isometry: at the start, and by a regulariser."""
    solved = at["solved"].isel(clip_norm=-1)
    names = [m for m in ("tanh", "orthogonal", "omega") if m in at["network"].values]
    rates = [f"{remedy(m).label} {_rate(solved.sel(network=m))[3]}" for m in names]
    gain = solved.sel(network="orthogonal", drop=True) - solved.sel(network="tanh", drop=True)
    return observe(
        ["D12"], f"Successes over all tasks, clipped: {'; '.join(rates)}. Gain of the orthogonal over "
        "the Gaussian start", PASCANU,
        measured=float(gain.mean()), uncertainty=_error(gain), claim="right after repair",
        correction="Step derivatives near 1 are a way out, near 0 they are the problem. The regulariser's "
        "weight of 4 was found for plain gradient descent and competes with the task's gradient."
        + _resolved(gain),
    )  # fmt: skip


def _relu(at: xr.Dataset) -> Verdict:
    """Relu networks, by clipping, against tanh."""
    names = [m for m in ("tanh", "relu", "irnn") if m in at["network"].values]
    rates = [
        f"{remedy(m).label} {_clipped(norm)} {_rate(at['solved'].sel(network=m, clip_norm=norm))[3]}"
        for m in names
        for norm in at["clip_norm"].values
    ]
    solved = at["solved"].isel(clip_norm=-1)
    gain = solved.sel(network=names[1:]).max("network") - solved.sel(network="tanh", drop=True)
    diverged = int((at["diverged_at"].sel(network=names[1:]) > 0).sum())
    return observe(
        ["D13"], f"Successes over all tasks: {'; '.join(rates)}. {diverged} relu networks overflow. Gain "
        "of the better relu network over tanh", LE,
        measured=float(gain.mean()), uncertainty=_error(gain), claim="right after repair",
        correction="A relu network that starts near the identity or at the He scale trains through tens of "
        "steps; an eigenvalue above 1 does not decide." + _resolved(gain),
    )  # fmt: skip


def _clipped(norm: float) -> str:
    return "with clipping" if norm else "without"


def _forget_bias(at: xr.Dataset) -> Verdict:
    """The gradient that a forget bias of 1 keeps, and what it does to success."""
    last = at.isel(clip_norm=-1)
    pair = [last.sel(network=f"lstm_forget_{b}", drop=True) for b in (0, 1)]
    gain = (pair[1]["kept"] - pair[0]["kept"]).mean("task")
    words = [_rate(p["solved"])[3] for p in pair]
    return observe(
        ["D20"], f"An LSTM's forget bias of 1 instead of 0: success {words[0]} becomes {words[1]}; decades of"
        " gradient that it keeps more over the sequence, untrained, mean over tasks", JOZEFOWICZ,
        measured=float(gain.mean()), uncertainty=_error(gain),
        claim="right" if float(gain.mean()) > 0 else "wrong",
        correction="" if float(gain.mean()) > 0 else "A larger bias kept no more of the gradient here.",
    )  # fmt: skip


def _simple_gates(at: xr.Dataset) -> Verdict:
    """Cells with fewer gates than an LSTM."""
    solved = at["solved"].isel(clip_norm=-1)
    simpler = [m for m in SIMPLER if m in at["network"].values]
    rates = [f"{remedy(m).label} {_rate(solved.sel(network=m))[3]}" for m in ("lstm_forget_1", *simpler)]
    gain = solved.sel(network=simpler).max("network") - solved.sel(network="lstm_forget_1", drop=True)
    return observe(
        ["D25"], f"Successes over all tasks: {'; '.join(rates)}. The best simpler cell, less the LSTM",
        HOCHREITER, measured=float(gain.mean()), uncertainty=_error(gain), claim="right after repair",
        correction="An additive path that is kept open does it, not the number of gates. And what is "
        "remembered are earlier time steps, not earlier training steps." + _resolved(gain),
    )  # fmt: skip
