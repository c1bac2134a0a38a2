"""Verdicts of ``long-lag-tasks``: clipping, relu, gates, the forget bias, and a vanished gradient."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import share_interval
from signalprop.bench.measure.estimates import mean_and_error, share_and_error
from signalprop.bench.record.verdict import Verdict, observe
from signalprop.bench.training.choice import at_best_rate
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


def _counted(solved: xr.DataArray) -> str:
    """Number of successes, of networks, with the interval of the rate."""
    low, high = share_interval(int(solved.sum()), solved.size)
    return f"{int(solved.sum())} of {solved.size} (95 % interval {low:.2f} to {high:.2f})"


def _successes(solved: xr.DataArray, names: list[str]) -> str:
    return "; ".join(f"{remedy(name).label}: {_counted(solved.sel(network=name))}" for name in names)


def _gain(solved: xr.DataArray, network: str, over: str) -> tuple[float, float]:
    """Gain in the success rate of one network over another, with its standard error over pairs."""
    return mean_and_error(solved.sel(network=network, drop=True) - solved.sel(network=over, drop=True))


def _resolved(gain: float, error: float) -> str:
    """The sentence that closes a correction where the difference may be chance."""
    clear = abs(gain) > 2 * error
    return "" if clear else " The difference in successes is within two standard errors here."


def _clipped(norm: float) -> str:
    return f"clipped to norm {norm:g}" if norm else "without clipping"


def _last(at: xr.Dataset) -> tuple[xr.Dataset, str]:
    """The networks that are clipped, if any are, at the largest norm; and that in words."""
    return at.isel(clip_norm=-1), _clipped(float(at["clip_norm"][-1]))


def _present(at: xr.Dataset, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in at["network"].values]


def _most(solved: xr.DataArray, names: list[str]) -> tuple[str, str]:
    """The network with most successes, so that no seed has a choice; and that in words."""
    winner = max(names, key=lambda name: float(solved.sel(network=name).sum()))
    of_many = f", the {'better' if len(names) == 2 else 'best'} of {len(names)}" if len(names) > 1 else ""
    return winner, remedy(winner).label + of_many


def _tasks(at: xr.Dataset) -> str:
    return "; ".join(title(str(task)) for task in at["task"].values)


def _vanished(at: xr.Dataset) -> list[Verdict]:
    """Networks whose gradient had vanished over the whole sequence before training, and which learned."""
    last, how = _last(at)
    gone = last["kept"] < -VANISHED
    k, n = int((last["solved"].where(gone) > 0).sum()), int(gone.sum())
    if n == 0:
        return []
    low, high = share_interval(k, n)
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
    mean, error = mean_and_error(ranks)
    sure = np.array([p * len(found) < 0.05 for *_, p in found])  # Bonferroni
    helps, hurts = int((sure & (ranks > 0)).sum()), int((sure & (ranks < 0)).sum())
    each = ", ".join(f"{rank:+.2f} (p = {p:.1g}; {title(task)})" for task, rank, p in found)
    return [
        observe(
            ["D11"], "Rank correlation, over networks as if independent, of the decades that the untrained "
            f"gradient loses or gains over the sequence with the loss after training, {how}: {each}; mean",
            PASCANU, measured=mean, uncertainty=error, claim="right after repair",
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
            measured=float(np.median(x)), uncertainty=mean_and_error(x)[1],
        )
    ]  # fmt: skip


def _clipping(result: xr.Dataset) -> Verdict:
    """Pairs of equal networks and sequences, one clipped and one not, at all learning rates."""
    pairs = result["solved"].transpose("clip_norm", ...).values
    hoping, clipped = pairs[0].ravel() > 0, pairs[-1].ravel() > 0
    better, worse = int((clipped & ~hoping).sum()), int((hoping & ~clipped).sum())
    p = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    gain, error = mean_and_error(clipped.astype(float) - hoping)
    sure = p < 0.05
    return observe(
        ["D24"], f"{hoping.size} pairs of networks that differ in clipping ({_last(result)[1]}, or not): "
        f"{better} succeed with it alone, {worse} without it alone (sign test as if all pairs were "
        f"independent, p = {p:.2g}); gain in success rate", PASCANU,
        measured=gain, uncertainty=error,
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
    winner, words = _most(solved, [str(m) for m in at["network"].values if str(m) in UNGATED])
    solved = solved.sel(network=winner)
    share, error = share_and_error(int(solved.sum()), solved.size)
    return observe(
        ["D6"], f"{words} without gates, and without clipping, solves {_counted(solved)}, over the "
        f"tasks that any network solves: {_tasks(at)}", LE, measured=share, uncertainty=error,
        claim="right after repair" if share else "right",
        correction="At these lengths a good start or activation is enough. Clipping limits steps, restores "
        "no vanished gradient, and makes learning surer." if share else "",
    )  # fmt: skip


def _unit_gain(at: xr.Dataset) -> Verdict:
    """Two ways to keep a tanh network's step near an isometry: at the start, and by a regulariser."""
    last, how = _last(at)
    gain, error = _gain(last["solved"], "orthogonal", "tanh")
    return observe(
        ["D12"], f"Successes over all tasks, {how}: "
        f"{_successes(last['solved'], _present(at, ('tanh', 'orthogonal', 'omega')))}. Gain of the "
        "orthogonal over the Gaussian start", PASCANU,
        measured=gain, uncertainty=error, claim="right after repair",
        correction=f"Step derivatives near 1 at the start {'helped' if gain > 2 * error else 'did not help'} "
        "here, at these lengths; near 0 they are the problem. The regulariser's weight of 4 was found for "
        "plain gradient descent and competes with the task's gradient.",
    )  # fmt: skip


def _relu(at: xr.Dataset) -> Verdict:
    """Relu networks, by clipping, against tanh."""
    names = _present(at, ("tanh", "relu", "irnn"))
    rates = "; ".join(
        f"{remedy(name).label}, {_clipped(norm)}: {_counted(at['solved'].sel(network=name, clip_norm=norm))}"
        for name in names
        for norm in at["clip_norm"].values
    )
    (last, how), relus = _last(at), names[1:]
    winner, words = _most(last["solved"], relus)
    gain, error = _gain(last["solved"], winner, "tanh")
    diverged = int((at["diverged_at"].sel(network=relus) > 0).sum())
    learns = bool(last["solved"].sel(network=winner).any())
    return observe(
        ["D13"], f"Successes over all tasks: {rates}. {diverged} relu networks overflow. Gain of {words}, "
        f"over tanh, {how}", LE,
        measured=gain, uncertainty=error, claim="right after repair" if learns else "not checkable",
        correction="A relu network that starts near the identity or at the He scale trains through tens of "
        "steps; an eigenvalue above 1 does not decide." + _resolved(gain, error) if learns else "",
    )  # fmt: skip


def _forget_bias(at: xr.Dataset) -> Verdict:
    """The gradient that a forget bias of 1 keeps, and what it does to success."""
    last, how = _last(at)
    pair = [last.sel(network=f"lstm_forget_{b}", drop=True) for b in (0, 1)]
    gain, error = mean_and_error((pair[1]["kept"] - pair[0]["kept"]).mean("task"))
    words = [_counted(p["solved"]) for p in pair]
    return observe(
        ["D20"], f"An LSTM's forget bias of 1 instead of 0: success {words[0]} becomes {words[1]}, {how}; "
        "decades of gradient that it keeps more over the sequence, untrained, mean over tasks", JOZEFOWICZ,
        measured=gain, uncertainty=error, claim="right" if gain > 0 else "wrong",
        correction="" if gain > 0 else "A larger bias kept no more of the gradient here.",
    )  # fmt: skip


def _simple_gates(at: xr.Dataset) -> Verdict:
    """Cells with fewer gates than an LSTM."""
    last, how = _last(at)
    solved, simpler = last["solved"], _present(at, SIMPLER)
    winner, words = _most(solved, simpler)
    gain, error = _gain(solved, winner, "lstm_forget_1")
    return observe(
        ["D25"], f"Successes over all tasks, {how}: {_successes(solved, ['lstm_forget_1', *simpler])}. Gain "
        f"of {words}, over the LSTM",
        HOCHREITER, measured=gain, uncertainty=error, claim="right after repair",
        correction="An additive path that is kept open does it, not the number of gates. And what is "
        "remembered are earlier time steps, not earlier training steps." + _resolved(gain, error),
    )  # fmt: skip


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the better learning rate of every task, method and clipping.

    That is where more seeds solve the task or, at equal numbers, with the smaller median test loss.
    """
    return at_best_rate(result, result["solved"].sum("seed"), -result["test_loss"].median("seed"))


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
