r"""Which recurrent networks learn to use what they saw many steps ago?

Recurrent networks, with and without gates, are trained on sequence tasks whose answer depends on early steps:
the adding problem, temporal order, copying and digits shown a row or a pixel at a time (``bench.tasks`` has
rules and sources). Every network of a task gets the same sequences, optimizer, number of updates and learning
rates, once with the gradient's norm clipped and once without. The better learning rate counts, where more
seeds solve the task or, at equal numbers, with the smaller median loss.

Measured on sequences that training never saw: whether the task is solved, by the criterion of its source. And
during training the loss, the norm of the gradient, how often clipping engaged and whether the run diverged;
before and after it, how the gradient of the last answer shrinks with the lag.

Theory: the loss at chance; whether a network can be trained at all is said to depend on its exponent, the
slope of the gradient by lag at initialization, so that is ranked against the final loss. No theory gives the
number of successes.

Sources: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); Pascanu, Mikolov & Bengio (2013),
arXiv:1211.5063 (clipping, Omega, figure 7); Le, Jaitly & Hinton (2015), arXiv:1504.00941 (IRNN); Arjovsky,
Shah & Bengio (2016), arXiv:1511.06464 (copying); Jozefowicz, Zaremba & Sutskever (2015), ICML 37.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import log_mean_exp
from signalprop.analysis.timelag import gradient_by_lag
from signalprop.bench.drawings.long_lag_tasks import best, figures, kept_decades, title, wilson
from signalprop.bench.errors import InputError
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.grid import Grid, Static, nearest, require_count, require_scale, require_values
from signalprop.bench.omega import Outputs
from signalprop.bench.remedies import REMEDIES, remedy
from signalprop.bench.tasks import Batch, Task, find_task
from signalprop.bench.training import train
from signalprop.bench.verdict import Verdict, observe
from signalprop.models.cells import zero_carry
from signalprop.models.sequence import SequenceModel

OPTIMIZERS = {"adam": optax.adam, "rmsprop": optax.rmsprop, "sgd": optax.sgd}
UNGATED = ("tanh", "omega", "orthogonal", "relu", "irnn")
SIMPLER = ("lstm_1997", "gru", "minimal_rnn")  # than an LSTM with a forget gate
VANISHED = 3  # decades below which we call a gradient vanished
PASCANU = "Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063"
LE = "Le, Jaitly & Hinton (2015), arXiv:1504.00941"
JOZEFOWICZ = "Jozefowicz, Zaremba & Sutskever (2015), ICML 37"
HOCHREITER = "Hochreiter & Schmidhuber (1997), Neural Computation 9(8)"
WATCHED = 4  # test sequences along which the gradient by lag is measured


@dataclass(frozen=True)
class Settings:
    """Settings of ``long-lag-tasks``."""

    task: tuple[str, ...] = ("adding-20",)
    """Tasks with their length T, as ``adding-50``; digits have a length of their own, as ``digits_rows``."""
    network: tuple[str, ...] = ("tanh", "irnn", "lstm_1997", "lstm_forget_0", "lstm_forget_1")
    """Networks of ``bench.remedies``, or any cell of ``models.cells``."""
    learning_rate: tuple[float, ...] = (0.003,)
    """Learning rates; the better one counts."""
    clip_norm: tuple[float, ...] = (0.0, 1.0)
    """Norms to which gradients are clipped; 0: no clipping."""
    optimizer: str = "adam"
    """Optimizer: adam, rmsprop or sgd."""
    units: int = 32
    """Hidden units."""
    batch_size: int = 16
    """Sequences per update."""
    updates: int = 300
    """Updates of every network."""
    records: int = 20
    """Points of the learning curves; divides the updates."""
    test_size: int = 500
    """Sequences that a trained network is judged on."""
    seeds: int = 3
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name in self.task:
            find_task(name)
        for name in self.network:
            remedy(name)
        require_values("network", self.network)
        require_scale("clip_norm", self.clip_norm)
        require_scale("learning_rate", self.learning_rate)
        if min(self.learning_rate) == 0:
            raise InputError("learning_rate: got 0; write rates above 0")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer: no {self.optimizer!r}; {nearest(self.optimizer, OPTIMIZERS)}")
        for axis in ("units", "batch_size", "updates", "records", "test_size"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        task=("adding-50", "temporal_order-20", "copying-10", "digits_rows"),
        network=tuple(name for name in REMEDIES if name != "minimal_rnn"),
        learning_rate=(0.001,),
        units=40,
        updates=2000,
        records=40,
        test_size=1000,
        seeds=6,
    ),
    "full": Settings(
        network=tuple(REMEDIES),
        task=(
            *(f"adding-{length}" for length in (50, 100, 200, 400)),
            *(f"temporal_order-{length}" for length in (20, 50, 100, 200)),
            *(f"copying-{length}" for length in (20, 100, 200)),
            "digits_rows",
            "digits_pixels",
        ),
        learning_rate=(0.0003, 0.001, 0.003),
        units=100,
        batch_size=20,
        updates=20_000,
        records=100,
        test_size=10_000,
        seeds=20,
    ),
}


def grid(settings: Settings) -> Grid:
    """One compilation per task and method; seeds, learning rates and clipping train together."""
    longest = max(task.num_steps(length) for task, length in map(find_task, settings.task))
    constants = ("optimizer", "units", "batch_size", "updates", "records", "test_size", "dtype")
    stride = settings.updates // settings.records
    return Grid(
        static={"task": settings.task, "network": settings.network},
        traced={"learning_rate": settings.learning_rate, "clip_norm": settings.clip_norm},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "update": [stride * (i + 0.5) for i in range(settings.records)],
            "lag": range(longest + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network and judge it."""
    (task, length), method, dtype = find_task(static["task"]), remedy(static["network"]), static["dtype"]
    draw_key, train_key, test_key = jax.random.split(key, 3)
    model = method.draw(draw_key, task, static["units"], dtype)
    draw = partial(task.draw, length=length, batch_size=static["batch_size"], dtype=dtype)
    trained = train(
        train_key, model, method.loss(task), draw, OPTIMIZERS[static["optimizer"]](point["learning_rate"]),
        static["updates"], static["records"],
        clip_norm=jnp.where(point["clip_norm"] > 0, point["clip_norm"], jnp.inf),
    )  # fmt: skip
    test = task.test(test_key, length, static["test_size"], dtype=dtype)
    loss, aside = task.loss(trained.model, test)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    lags = jax.vmap(lambda m: answer_by_lag(m, task, test))(both)
    return {
        "test_loss": loss,
        "correct": aside["correct"],
        "solved": (task.solved(loss, aside["correct"]) & (trained.diverged_at == 0)).astype(dtype),
        "curve": trained.record["task_loss"],
        "log_gradient_norm": trained.record["log_gradient_norm"],
        "clip_rate": trained.record["clip_rate"],
        "diverged_at": trained.diverged_at.astype(dtype),
        "lag_before": lags[0],
        "lag_after": lags[1],
    }


def answer_by_lag(model: SequenceModel, task: Task, batch: Batch) -> jax.Array:
    """Log by lag of the mean norm of the gradient of the last answer's loss, over the norm at lag 0."""

    def one(inputs: jax.Array, target: jax.Array) -> jax.Array:
        carry = zero_carry(model.cell)
        end, _ = jax.lax.scan(model.cell, carry, inputs)
        *rest, output = jax.tree.leaves(end)  # what a cell puts out is the last part of its carry
        answer = Batch(inputs[:, None], target.reshape((1,) * batch.targets.ndim))
        slope = jax.grad(lambda h: task.loss(Outputs(model, h), answer)[0])(output[None, None])[0, 0]
        cotangent = jax.tree.unflatten(jax.tree.structure(end), [*map(jnp.zeros_like, rest), slope])
        profile = gradient_by_lag(model.cell, carry, inputs, cotangent).log_norm
        return profile - profile[0]

    last = batch.targets[-1] if batch.targets.ndim > 1 else batch.targets
    return log_mean_exp(jax.vmap(one, (1, 0))(batch.inputs[:, :WATCHED], last[:WATCHED]))


def theory(settings: Settings) -> xr.Dataset:
    """The loss of the best answer that remembers nothing."""
    chance = [task.chance(length) for task, length in map(find_task, settings.task)]
    return xr.Dataset({"test_loss_predicted": (("task",), chance)}, coords={"task": list(settings.task)})


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge clipping, relu, gates, the forget bias and what a vanished gradient means."""
    at = best(result.assign(kept=kept_decades(result)))
    methods = set(map(str, result["network"].values))
    found = [_vanished(at), _rank(at)]
    if {0.0} < set(result["clip_norm"].values):
        found += [_clipping(result), _ungated(at)]
    if {"tanh", "irnn"} <= methods:
        found.append(_relu(at))
    if {"lstm_forget_0", "lstm_forget_1"} <= methods:
        found.append(_forget_bias(at))
    if "lstm_forget_1" in methods and methods & set(SIMPLER):
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
    each = ", ".join(f"{r:+.2f}" for r in ranks)
    return observe(
        ["D11"], "Rank correlation, over networks, of the decades that the untrained gradient loses or gains "
        f"over the sequence with the loss after training: {each} ({_tasks(at)}); mean", PASCANU,
        measured=float(np.mean(ranks)), uncertainty=spread, claim="right after repair",
        correction="The exponent at initialization is one predictor of success among several, and local.",
    )  # fmt: skip


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
        f"{worse} without it alone (exact sign test p = {p:.2g}); gain in success rate", PASCANU,
        measured=float(gain.mean()), uncertainty=_error(gain),
        claim=("right" if better > worse else "wrong") if sure else "not checkable",
        correction="" if sure and better > worse else "No difference shows at these lengths and this number "
        "of networks." if not sure else "Clipping cost successes here.",
    )  # fmt: skip


def _ungated(at: xr.Dataset) -> Verdict:
    """The best network with neither gates nor clipping, on its worst task."""
    plain = at.sel(clip_norm=0, network=[m for m in at["network"].values if str(m) in UNGATED])
    rate = plain["solved"].mean("seed").min("task")
    winner = str(rate["network"][int(np.argmax(rate.values))].values)
    k, n, error, words = _rate(plain["solved"].sel(network=winner))
    needed = float(rate.max()) == 0
    return observe(
        ["D6"], f"{remedy(winner).label}, without gates and without clipping, solves {words} over all tasks: "
        f"{_tasks(at)}", LE,
        measured=k / n, uncertainty=error, claim="right" if needed else "right after repair",
        correction="" if needed else "At these lengths a good initialization or activation is enough. "
        "Clipping limits steps and restores no vanished gradient, and an LSTM depends on its forget bias.",
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
        "steps; an eigenvalue above 1 does not decide. Its large outputs are a matter of clipping.",
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
        "remembered are earlier time steps, not earlier training steps.",
    )  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Successes and medians by task, method and clipping, at the better learning rate."""
    at = best(result.assign(kept=kept_decades(result)))
    solved = at["solved"].sum("seed")
    intervals = np.array([wilson(int(k), at.sizes["seed"]) for k in solved.values.ravel()]).T
    low, high = (solved.copy(data=side.reshape(solved.shape)) for side in intervals)
    columns = {
        "solved": solved.astype(int),
        "seeds": xr.full_like(solved, at.sizes["seed"]).astype(int),
        "wilson_low": low,
        "wilson_high": high,
        "test_loss_median": at["test_loss"].median("seed"),
        "chance": at["test_loss_predicted"].broadcast_like(solved),
        "correct_median": at["correct"].median("seed"),
        "clip_rate": at["clip_rate"].mean(("seed", "update")),
        "diverged": (at["diverged_at"] > 0).sum("seed"),
        "untrained_gradient_decades": at["kept"].median("seed"),
    }
    return xr.Dataset(columns).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="long-lag-tasks",
    question="Which recurrent networks learn to use what they saw many steps ago?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "test_loss": Variable((), "loss on sequences not trained on"),
        "correct": Variable((), "share of right answers on them"),
        "solved": Variable((), "1 if the task is solved"),
        "curve": Variable(("update",), "training loss without regulariser, mean around the update"),
        "log_gradient_norm": Variable(("update",), "log of the gradient norm before clipping", "nats"),
        "clip_rate": Variable(("update",), "share of updates that were clipped"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "lag_before": Variable(("lag",), "log gradient by lag over that at lag 0, untrained", "nats"),
        "lag_after": Variable(("lag",), "log gradient by lag over that at lag 0, trained", "nats"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
