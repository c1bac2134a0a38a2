r"""Does pushing Lyapunov exponents to zero make a recurrent network learn what it cannot learn otherwise?

A tanh network learns the delayed XOR. Before training, or before and again half way, gradient flossing pushes
its k leading Lyapunov exponents to zero by gradient descent on the mean of their squares (Engelken 2023,
arXiv 2312.17306). The rivals get the same budget, in training steps with each flossing step charged for what
it costs: no flossing, clipping, the critical gain of mean-field theory, and orthogonal recurrent weights. All
of them are flossed too.

Measured before and after flossing and after training: all exponents, the gradient dL/dh_{T-k} by lag, and the
singular values 1 and k of the Jacobian over as many steps; and the share of networks that solve the task.

Theory: the gradient falls by lambda_1 per step of lag, so flossed exponents mean a gradient that keeps its
size. The ratio of the singular values 1 and k over T steps grows as exp(T (lambda_1 - lambda_k)), so it stays
near 1 as well: the gradient arrives from k directions, not from one. A critical gain moves lambda_1 only;
from there flossing is slow, as the exponents of saturated units fluctuate and so do their gradients.
Success has no theory; its intervals are exact (Clopper & Pearson 1934).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from signalprop.analysis.chaos import edge_of_chaos, mean_field_q, mean_field_spectrum
from signalprop.analysis.statistics import share_interval
from signalprop.bench import flossed
from signalprop.bench.drawings.flossing import figures
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.flossed import ABOUT_ONE, ENGELKEN
from signalprop.bench.measure.rates import standard_error
from signalprop.bench.record.verdict import Verdict, observe
from signalprop.bench.training.flossing import (
    LONG,
    MOMENTS,
    SCHEDULES,
    STARTS,
    STRETCH,
    Plan,
    cost,
    delayed_xor,
    draw_network,
    examine,
    follow,
    sequence,
)
from signalprop.bench.training.tasks import Task

TEST_SIZE = 64  # sequences on which a trained network is judged
NOISE = 1.0  # standard deviation that the input adds to a pre-activation


@dataclass(frozen=True)
class Settings:
    """Settings of ``flossing``."""

    delay: tuple[int, ...] = (12,)
    """Delays d of the XOR, even; sequences have 3 d steps."""
    schedule: tuple[str, ...] = ("none", "before")
    """When the network is flossed: none, before training, or during (before and half way)."""
    start: tuple[str, ...] = ("gaussian", "orthogonal")
    """How the network begins, and whether gradients are clipped."""
    width: int = 48
    """Units N of the network."""
    exponents: int = 12
    """Number k of exponents that are pushed to zero."""
    steps: int = 640
    """Budget in training steps."""
    floss_steps: int = 64
    """Flossing steps of a flossed network."""
    charge: int = 3
    """Training steps that one flossing step is charged with; a CPU takes 1.8 (d = 16) to 3.2 (d = 8)."""
    records: int = 8
    """Records of training and of flossing, a divisor of half the flossing steps; even."""
    batch_size: int = 16
    """Sequences per training step."""
    learning_rate: float = 1e-3
    """Of Adam in training."""
    floss_rate: float = 3e-3
    """Of Adam in flossing."""
    seeds: int = 8
    """Networks per setting; below 8 no verdict is judged by their scatter."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of everything."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("delay", self.delay, 2)
        require_known("schedule", self.schedule, SCHEDULES)
        require_known("start", self.start, STARTS)
        require_count("exponents", [self.exponents], 2)
        for axis in ("charge", "floss_steps"):
            require_count(axis, [getattr(self, axis)])
        require_count("records", [self.records], 2)
        if any(delay % 2 for delay in self.delay):
            raise ValueError(f"delay: got {self.delay}; write even numbers")
        if self.exponents > self.width:
            raise ValueError(f"exponents: got {self.exponents}; write at most the width, {self.width}")
        if self.records % 2 or self.floss_steps % self.records:
            raise ValueError(
                f"records: got {self.records}; write an even divisor of the {self.floss_steps} flossing steps"
            )
        if self.steps - self.charge * self.floss_steps < self.records:
            raise ValueError(
                f"steps: got {self.steps}; flossing costs {self.charge * self.floss_steps} of them"
            )


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        delay=(8, 16),
        schedule=("none", "before", "during"),
        start=("gaussian", "clipped", "critical", "orthogonal"),
        steps=1600,
        floss_steps=100,
        charge=4,
        records=10,
        seeds=12,
    ),
    "full": Settings(
        delay=(8, 16, 32, 64),
        schedule=("none", "before", "during"),
        start=("gaussian", "clipped", "critical", "orthogonal"),
        width=80,
        exponents=75,
        steps=8000,
        floss_steps=500,
        records=20,
        seeds=20,
    ),
}


def starts(settings: Settings) -> dict[str, list[float]]:
    """The scalars that each start sets."""
    critical = float(edge_of_chaos(jnp.tanh, NOISE))
    chosen = [STARTS[name] for name in settings.start]
    return {
        "gain": [critical if s.gain is None else s.gain for s in chosen],
        "orthogonal": [s.orthogonal for s in chosen],
        "clip_norm": [s.clip_norm for s in chosen],
    }


def grid(settings: Settings) -> Grid:
    """One compilation per delay and schedule; all starts share their draws."""
    single = {name: value for name, value in asdict(settings).items() if not isinstance(value, tuple)}
    return Grid(
        static={"delay": settings.delay, "schedule": settings.schedule},
        traced={"start": starts(settings)},
        seeds=settings.seeds,
        constants={
            **single,
            "lags": STRETCH * max(settings.delay),
        },
        coords={
            "start": settings.start,
            "moment": MOMENTS,
            "index": range(1, settings.width + 1),
            "lag": range(STRETCH * max(settings.delay) + 1),
            "record": range(settings.records),
            "singular": (1, settings.exponents),
        },
    )


def plan(values: Mapping[str, Any], task: Task, delay: int) -> Plan:
    """The plan that settings amount to."""
    names = [field.name for field in fields(Plan) if field.name not in ("task", "delay")]
    return Plan(task, delay, **{name: values[name] for name in names})


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Floss and train one network; what it does with gradients before, between and after."""
    delay, num = static["delay"], static["exponents"]
    task = delayed_xor(delay, static["dtype"])
    keys = jax.random.split(key, 4)
    model = draw_network(keys[0], static["width"], point["gain"], point["orthogonal"], static["dtype"])
    course = follow(keys[1], model, plan(static, task, delay), static["schedule"], point["clip_norm"])
    inputs = sequence(keys[2], task, LONG)
    moments = jax.tree.map(lambda *m: jnp.stack(m), model, course.flossed, course.trained)
    found = jax.vmap(lambda m: examine(m, inputs, num, static["lags"]))(moments)
    test_loss, test = task.loss(course.trained, task.test(keys[3], delay, TEST_SIZE))
    return {
        **found._asdict(),
        **{name: course.record[name] for name in ("loss", "correct", "log_gradient_norm", "clip_rate")},
        "floss_loss": course.floss_loss,
        "test_loss": test_loss,
        "test_correct": test["correct"],
        "solved": task.solved(test_loss, test["correct"]).astype(test_loss.dtype),
        "diverged": course.diverged.astype(test_loss.dtype),
    }


def theory(settings: Settings) -> xr.Dataset:
    """Mean-field spectra at the start, zero for the flossed ones, and what a flossing step costs."""
    scalars, n, k = starts(settings), settings.width, settings.exponents
    place = jnp.arange(1, n + 1) / n - 0.5 / n
    spectra = []
    for gain, orthogonal in zip(scalars["gain"], scalars["orthogonal"], strict=True):
        q, weights = mean_field_q(jnp.tanh, gain, NOISE), "orthogonal" if orthogonal else "gaussian"
        one = jax.jit(jax.vmap(lambda x, g=gain, q=q, w=weights: mean_field_spectrum(jnp.tanh, x, g, q, w)))
        spectra.append(np.asarray(one(place)))
    one_plan = plan(asdict(settings), delayed_xor(settings.delay[0]), settings.delay[0])
    costs = [cost(settings.batch_size, STRETCH * delay, k) for delay in settings.delay]
    coords = {name: v for name, v in grid(settings).labels().items() if v[0] == name != "seed"}
    return xr.Dataset(
        {
            "exponents_predicted": (("start", "index"), np.array(spectra)),
            "cost": (("delay",), costs),
            "budget": (("schedule", "record"), [one_plan.places(s) for s in settings.schedule]),
            "charge": ((), settings.charge),
            "floss_count": ((), settings.floss_steps),
            "num": ((), k),
        },
        coords=coords,
    )


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge exponents and gradients; report conditioning, success, clipping and cost."""
    found = _success(result)
    if "before" in result["schedule"].values:
        at = result.sel(schedule="before")
        found += flossed.verdicts(at)
    return found


def _success(result: xr.Dataset) -> list[Verdict]:
    count, found = result.sizes["seed"], []
    for delay in result["delay"].values:
        for schedule in result["schedule"].values:
            solved = result["solved"].sel(delay=delay, schedule=schedule).sum("seed")
            parts = []
            for start in result["start"].values:
                low, high = share_interval(int(solved.sel(start=start)), count)
                parts.append(f"{start} {int(solved.sel(start=start))}/{count} ({low:.2f}-{high:.2f})")
            share, total = float(solved.sum()) / (count * len(parts)), count * len(parts)
            found.append(
                observe(
                    ["D6", "D12"], f"Delayed XOR, d = {delay}, flossing: {schedule}. Share of networks that "
                    f"solve it at equal budget; solved with exact 95 % intervals: {', '.join(parts)}",
                    ENGELKEN,
                    measured=share, uncertainty=float(np.sqrt(share * (1 - share) / total)),
                    claim="right after repair",
                    correction=REMEDY,
                )
            )  # fmt: skip
    return [*found, *_gain(result), *_clipping(result), *_cost(result)]


def _gain(result: xr.Dataset) -> list[Verdict]:
    """What flossing before training adds to the share of solved, over all starts, by delay."""
    if not {"none", "before"} <= set(result["schedule"].values):
        return []
    found, solved = [], result["solved"].sel(schedule=["before", "none"])
    count = solved.sizes["seed"]
    total = count * solved.sizes["start"]
    for delay in result["delay"].values:
        with_it, without = (int(n) for n in solved.sel(delay=delay).sum(("seed", "start")))
        p = stats.fisher_exact([[with_it, total - with_it], [without, total - without]]).pvalue
        shares = np.array([with_it, without]) / total
        found.append(
            observe(
                ["D12"], f"Delayed XOR, d = {delay}, all starts: share solved by networks flossed before "
                f"training, {with_it}/{total}, less that of networks never flossed, {without}/{total}, at "
                f"equal budget (Fisher, as if independent, though all starts share {count} seeds: "
                f"p = {p:.1g})", ENGELKEN,
                measured=float(shares[0] - shares[1]),
                uncertainty=float(np.sqrt((shares * (1 - shares) / total).sum())),
                claim="right after repair", correction=ABOUT_ONE,
            )
        )  # fmt: skip
    return found


REMEDY = (
    "Clipping does nothing against vanishing gradients. Gates are one remedy; flossed exponents are another, "
    "for a plain tanh network."
)


def _clipping(result: xr.Dataset) -> list[Verdict]:
    if "clipped" not in result["start"].values or "none" not in result["schedule"].values:
        return []
    rate = result["clip_rate"].sel(start="clipped", schedule="none").mean(("delay", "record"))
    return [
        observe(
            ["D6"], "Share of training steps in which clipping at norm 1 engaged, without flossing",
            "measurement", measured=float(rate.mean()), uncertainty=float(standard_error(rate)),
            claim="right after repair", correction=REMEDY,
        )
    ]  # fmt: skip


def _cost(result: xr.Dataset) -> list[Verdict]:
    return [
        observe(
            ["D12"], "Operations of a flossing step over those of a training step, decompositions left out, "
            f"at the shortest delay; it is charged as {int(result['charge'])} training steps",
            "count of operations", measured=float(result["cost"].max()), claim="right after repair",
            correction=ABOUT_ONE,
        )
    ]  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Success, exponents, gradients and training by delay, schedule and start."""
    num, at = int(result["num"]), result
    columns = {
        "solved": at["solved"].sum("seed"),
        "networks": at["solved"].count("seed"),
        "test_correct": at["test_correct"].mean("seed"),
        "test_loss": at["test_loss"].mean("seed"),
        "clip_rate": at["clip_rate"].mean(("seed", "record")),
    }
    for moment in MOMENTS:
        now = at.sel(moment=moment)
        columns[f"lambda_1_{moment}"] = now["exponents"].isel(index=0).mean("seed")
        columns[f"lambda_k_{moment}"] = now["exponents"].isel(index=num - 1).mean("seed")
        columns[f"log_gradient_{moment}"] = now["log_gradient"].isel(lag=-1).mean("seed")
        decades = (now["log_singular"].isel(singular=0) - now["log_singular"].isel(singular=1)) / np.log(10)
        columns[f"condition_decades_{moment}"] = decades.mean("seed")
    scalars = ["moment", "index", "lag", "singular"]
    clean = {name: values.drop_vars(scalars, errors="ignore") for name, values in columns.items()}
    return xr.Dataset(clean).to_dataframe().reset_index()


EXPERIMENT = Experiment(
    name="flossing",
    question="Does pushing Lyapunov exponents to zero make a recurrent network learn?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "exponents": Variable(("moment", "index"), "Lyapunov exponents along one long sequence", "nats"),
        "exponent_error": Variable(("moment", "index"), "their standard errors over time", "nats"),
        "log_gradient": Variable(("moment", "lag"), "log of |dL/dh_{T-k}|", "nats"),
        "log_singular": Variable(("moment", "singular"), "log singular values 1 and k of dh_T/dh_{T-lags}"),
        "loss": Variable(("record",), "mean squared error in training"),
        "correct": Variable(("record",), "share of answers of the right sign in training"),
        "log_gradient_norm": Variable(("record",), "log of the norm of the training gradient", "nats"),
        "clip_rate": Variable(("record",), "share of training steps that were clipped"),
        "floss_loss": Variable(("record",), "mean squared exponent while flossing"),
        "test_loss": Variable((), "mean squared error on new sequences"),
        "test_correct": Variable((), "share of answers of the right sign on new sequences"),
        "solved": Variable((), "1 if the task is solved"),
        "diverged": Variable((), "1 if training diverged"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
