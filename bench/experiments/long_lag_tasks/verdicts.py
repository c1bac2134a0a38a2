"""Verdicts of ``long-lag-tasks``: clipping, relu, gates, the forget bias, and a vanished gradient."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.bench.record.verdict import Verdict, observe
from signalprop.bench.training.remedies import remedy
from signalprop.bench.training.tasks import find_task

UNGATED = ("tanh", "omega", "orthogonal", "relu", "irnn")
SIMPLER = ("lstm_1997", "gru", "minimal_rnn")  # than an LSTM with a forget gate
VANISHED = 3  # decades below which we call a gradient vanished
GUESSING = 0.15  # share of symbols recalled that still counts as guessing one of eight
ARJOVSKY = "Arjovsky, Shah & Bengio (2016), arXiv:1511.06464"
PASCANU = "Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063"
LE = "Le, Jaitly & Hinton (2015), arXiv:1504.00941"
JOZEFOWICZ = "Jozefowicz, Zaremba & Sutskever (2015), ICML 37"
HOCHREITER = "Hochreiter & Schmidhuber (1997), Neural Computation 9(8)"
LN10 = float(np.log(10))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge clipping, relu, gates, the forget bias and what a vanished gradient means."""
    result = result.sortby("clip_norm")  # 0, without clipping, comes first
    at = best(result.assign(kept=kept_decades(result)))
    networks, norms = set(map(str, result["network"].values)), set(result["clip_norm"].values)
    found = [*_vanished(at), *_rank(at), *_no_memory(at)]
    if {0.0} < norms:
        found.append(_clipping(result))
    if 0.0 in norms and networks & set(UNGATED):
        found.append(_ungated(at))
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
    """Standard error of the mean; NaN for a single number."""
    return float(gain.std(ddof=1) / np.sqrt(gain.size)) if gain.size > 1 else float("nan")


def _clipped(norm: float) -> str:
    return f"clipped to norm {norm:g}" if norm else "without clipping"


def _last(at: xr.Dataset) -> tuple[xr.Dataset, str]:
    """The networks that are clipped, if any are, at the largest norm; and that in words."""
    return at.isel(clip_norm=-1), _clipped(float(at["clip_norm"][-1]))


def _most(solved: xr.DataArray, names: list[str]) -> str:
    """The network with most successes, so that no seed has a choice."""
    return max(names, key=lambda name: float(solved.sel(network=name).sum()))


def _best_of(name: str, names: list[str]) -> str:
    label = remedy(name).label
    return (
        label
        if len(names) == 1
        else f"{label}, the {'better' if len(names) == 2 else 'best'} of {len(names)}"
    )


def _resolved(gain: xr.DataArray) -> str:
    """The sentence that closes a correction where the difference may be chance."""
    clear = abs(float(gain.mean())) > 2 * _error(gain)
    return "" if clear else " The difference in successes is within two standard errors here."


def _tasks(at: xr.Dataset) -> str:
    return "; ".join(title(str(task)) for task in at["task"].values)


def _vanished(at: xr.Dataset) -> list[Verdict]:
    """Networks whose gradient had vanished over the whole sequence before training, and which learned."""
    last, how = _last(at)
    gone = last["kept"] < -VANISHED
    k, n = int((last["solved"].where(gone) > 0).sum()), int(gone.sum())
    if n == 0:
        return []
    low, high = wilson(k, n)
    return [
        observe(
            ["D11"], f"Networks whose gradient over the whole sequence is below 1e-{VANISHED} before "
            f"training: {k} of {n} learn the task, {how} (95 % interval {low:.2f} to {high:.2f})", PASCANU,
            measured=k / n, claim="right after repair" if k else "not checkable",
            correction="A vanished gradient is a statement about one point in weight space. Training starts "
            "from the shorter lags and raises the gradient on its way." if k else "",
        )
    ]  # fmt: skip


def _rank(at: xr.Dataset) -> list[Verdict]:
    """Rank correlation of the distance of the exponent from 0 and the final loss, task by task."""
    last, how = _last(at)
    found = []
    for task in at["task"].values:
        chosen = last.sel(task=task).stack(x=("network", "seed"))
        lost, loss = np.abs(chosen["kept"].values), chosen["test_loss"].fillna(np.inf).values
        known = ~np.isnan(lost)
        if len(set(lost[known])) > 1 and len(set(loss[known])) > 1:
            rank = stats.spearmanr(lost[known], loss[known])
            found.append((str(task), float(rank.statistic), float(np.nan_to_num(rank.pvalue, nan=1.0))))
    if not found:
        return []
    ranks = np.array([rank for _, rank, _ in found])
    sure = np.array([p * len(found) < 0.05 for *_, p in found])  # Bonferroni
    helps, hurts = int((sure & (ranks > 0)).sum()), int((sure & (ranks < 0)).sum())
    each = ", ".join(f"{rank:+.2f} (p = {p:.1g}; {title(task)})" for task, rank, p in found)
    return [
        observe(
            ["D11"], "Rank correlation, over networks as if independent, of the decades that the untrained "
            f"gradient loses or gains over the sequence with the loss after training, {how}: {each}; mean",
            PASCANU, measured=float(ranks.mean()), uncertainty=_error(ranks), claim="right after repair",
            correction="At these lengths a gradient that is kept at initialization goes with a smaller loss "
            f"on {helps} of {len(found)} tasks, and with a larger one on {hurts}, beyond chance: "
            + ("no relation shows." if not helps + hurts else "it does not predict success." if hurts else
               "it is one predictor."),
        )
    ]  # fmt: skip


def _no_memory(at: xr.Dataset) -> list[Verdict]:
    """The loss of networks that recall no better than guessing, against that of the best guess."""
    copying = at.isel(task=[str(task).startswith("copying") for task in at["task"].values])
    guess = copying["correct"] < GUESSING
    ratio = (copying["test_loss"] / copying["test_loss_predicted"]).where(guess)
    x = ratio.values[np.isfinite(ratio.values)]
    if x.size == 0:
        return []
    return [
        observe(
            ["D5"], f"Copying: {x.size} of {guess.size} networks recall less than {GUESSING:.0%} of the "
            "symbols after training. Loss of these, selected so, over that of no memory, 10 log(8) / "
            "(T + 20): median", ARJOVSKY, claim="not checkable",
            measured=float(np.median(x)), uncertainty=float(x.std() / np.sqrt(x.size)),
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
        ["D24"], f"{gain.size} pairs of networks that differ in clipping ({_last(result)[1]}, or not): "
        f"{better} succeed with it alone, {worse} without it alone (sign test as if all pairs were "
        f"independent, p = {p:.2g}); gain in success rate", PASCANU,
        measured=float(gain.mean()), uncertainty=_error(gain),
        claim=("right" if better > worse else "wrong") if sure else "not checkable",
        correction="" if sure and better > worse else "No difference shows at these lengths and this number "
        "of networks." if not sure else "Clipping cost successes here.",
    )  # fmt: skip


def _ungated(at: xr.Dataset) -> Verdict:
    """The best network with neither gates nor clipping, on the tasks that any network solves."""
    solvable = at["solved"].mean("seed").max(("network", "clip_norm")) > 0
    if not solvable.any():
        return observe(
            ["D6"], f"No network, with or without gates or clipping, solves a task: {_tasks(at)}", LE,
            measured=0, claim="not checkable",
        )  # fmt: skip
    at = at.isel(task=np.flatnonzero(solvable))
    solved = at["solved"].sel(clip_norm=0)
    names = [str(m) for m in at["network"].values if str(m) in UNGATED]
    winner = _most(solved, names)
    k, n, error, words = _rate(solved.sel(network=winner))
    return observe(
        ["D6"], f"{_best_of(winner, names)} without gates, and without clipping, solves {words}, over the "
        f"tasks that any network solves: {_tasks(at)}", LE,
        measured=k / n, uncertainty=error, claim="right after repair" if k else "right",
        correction="At these lengths a good start or activation is enough. Clipping limits steps, restores "
        "no vanished gradient, and makes learning surer." if k else "",
    )  # fmt: skip


def _unit_gain(at: xr.Dataset) -> Verdict:
    """Two ways to keep a tanh network's step near an isometry: at the start, and by a regulariser."""
    last, how = _last(at)
    solved = last["solved"]
    names = [m for m in ("tanh", "orthogonal", "omega") if m in at["network"].values]
    rates = [f"{remedy(m).label}: {_rate(solved.sel(network=m))[3]}" for m in names]
    gain = solved.sel(network="orthogonal", drop=True) - solved.sel(network="tanh", drop=True)
    helped = float(gain.mean()) > 2 * _error(gain)
    return observe(
        ["D12"], f"Successes over all tasks, {how}: {'; '.join(rates)}. Gain of the orthogonal over "
        "the Gaussian start", PASCANU,
        measured=float(gain.mean()), uncertainty=_error(gain), claim="right after repair",
        correction=f"Step derivatives near 1 at the start {'helped' if helped else 'did not help'} here, at "
        "these lengths; near 0 they are the problem. The regulariser's weight of 4 was found for plain "
        "gradient descent and competes with the task's gradient.",
    )  # fmt: skip


def _relu(at: xr.Dataset) -> Verdict:
    """Relu networks, by clipping, against tanh."""
    names = [m for m in ("tanh", "relu", "irnn") if m in at["network"].values]
    rates = [
        f"{remedy(m).label}, {_clipped(norm)}: {_rate(at['solved'].sel(network=m, clip_norm=norm))[3]}"
        for m in names
        for norm in at["clip_norm"].values
    ]
    last, how = _last(at)
    solved = last["solved"]
    winner = _most(solved, names[1:])
    gain = solved.sel(network=winner, drop=True) - solved.sel(network="tanh", drop=True)
    diverged = int((at["diverged_at"].sel(network=names[1:]) > 0).sum())
    learns = bool(solved.sel(network=winner).any())
    return observe(
        ["D13"], f"Successes over all tasks: {'; '.join(rates)}. {diverged} relu networks overflow. Gain "
        f"of {_best_of(winner, names[1:])}, over tanh, {how}", LE,
        measured=float(gain.mean()), uncertainty=_error(gain),
        claim="right after repair" if learns else "not checkable",
        correction="A relu network that starts near the identity or at the He scale trains through tens of "
        "steps; an eigenvalue above 1 does not decide." + _resolved(gain) if learns else "",
    )  # fmt: skip


def _forget_bias(at: xr.Dataset) -> Verdict:
    """The gradient that a forget bias of 1 keeps, and what it does to success."""
    last, how = _last(at)
    pair = [last.sel(network=f"lstm_forget_{b}", drop=True) for b in (0, 1)]
    gain = (pair[1]["kept"] - pair[0]["kept"]).mean("task")
    words = [_rate(p["solved"])[3] for p in pair]
    return observe(
        ["D20"], f"An LSTM's forget bias of 1 instead of 0: success {words[0]} becomes {words[1]}, {how}; "
        "decades of gradient that it keeps more over the sequence, untrained, mean over tasks", JOZEFOWICZ,
        measured=float(gain.mean()), uncertainty=_error(gain),
        claim="right" if float(gain.mean()) > 0 else "wrong",
        correction="" if float(gain.mean()) > 0 else "A larger bias kept no more of the gradient here.",
    )  # fmt: skip


def _simple_gates(at: xr.Dataset) -> Verdict:
    """Cells with fewer gates than an LSTM."""
    last, how = _last(at)
    solved = last["solved"]
    simpler = [m for m in SIMPLER if m in at["network"].values]
    rates = [f"{remedy(m).label}: {_rate(solved.sel(network=m))[3]}" for m in ("lstm_forget_1", *simpler)]
    winner = _most(solved, simpler)
    gain = solved.sel(network=winner, drop=True) - solved.sel(network="lstm_forget_1", drop=True)
    return observe(
        ["D25"], f"Successes over all tasks, {how}: {'; '.join(rates)}. Gain of {_best_of(winner, simpler)}, "
        "over the LSTM",
        HOCHREITER, measured=float(gain.mean()), uncertainty=_error(gain), claim="right after repair",
        correction="An additive path that is kept open does it, not the number of gates. And what is "
        "remembered are earlier time steps, not earlier training steps." + _resolved(gain),
    )  # fmt: skip


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the better learning rate of every task, method and clipping.

    That is where more seeds solve the task or, at equal numbers, with the smaller median test loss.
    """
    loss = result["test_loss"].median("seed") / result["test_loss_predicted"]
    score = result["solved"].sum("seed") + (1 / (1 + loss)).fillna(0) / 2
    return result.isel(learning_rate=score.argmax("learning_rate"))


def wilson(solved: int, seeds: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a success rate."""
    interval = stats.binomtest(solved, seeds).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def title(task: str) -> str:
    """A task's name and length for people."""
    name, _, length = task.partition("-")
    words = {"digits_rows": "digits row by row", "digits_pixels": "digits pixel by pixel"}
    text = words.get(name, name.replace("_", " "))
    return f"{text}, T = {length}" if length else text


def kept_decades(result: xr.Dataset) -> xr.DataArray:
    """Decades that the untrained gradient of the last answer gains (above 0) or loses over the sequence."""
    parts = []
    for name in result["task"].values:
        task, length = find_task(str(name))
        parts.append(result["lag_before"].sel(task=name, lag=task.num_steps(length), drop=True) / LN10)
    return xr.concat(parts, dim=result["task"]).transpose(*result["test_loss"].dims)
