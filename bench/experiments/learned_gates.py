r"""Does a trained LSTM keep its gradient where the task needs it, by its gates?

LSTMs are trained on the adding problem: two of T numbers are marked, one in each half, and the answer is
their sum. The first marked number has to be kept and nothing before it, so a network that "learns to decide
when to let the gradient vanish, and when to preserve it" (weberna.github.io, 2017) should keep the gradient
from the second mark back to the first, and may lose it before. All biases of the forget gate are trained
together, from the same draws.

Measured on test sequences before and after training: the gradient |dL/d(c_t, h_t)|, forget and input gates by
time from the first mark, the four terms of dc_t/dc_{t-1} (``analysis.gated``), the decay of a change of c_0
along the whole carry, and whether the task is solved. No theory covers what training does; theory says what
the bias alone gives: 1 + e^b steps.

Sources: Hochreiter & Schmidhuber (1997), Neural Computation 9, 1735; Gers, Schmidhuber & Cummins (2000),
Neural Computation 12, 2451; Jozefowicz, Zaremba & Sutskever (2015), ICML 37, on the forget bias.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis.gated import forget_lifetime
from signalprop.analysis.timelag import gradient_by_lag
from signalprop.bench.drawings.learned_gates import OFFSETS, figures
from signalprop.bench.engine.grid import Grid, Static, require_count, require_finite
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.gates import activities
from signalprop.bench.measure.memory import TERMS, follow
from signalprop.bench.measure.rates import standard_error
from signalprop.bench.record.verdict import Standing, Verdict, observe
from signalprop.bench.training.tasks import TASKS, Batch
from signalprop.bench.training.trainer import train
from signalprop.models.cells import cell as find_cell
from signalprop.models.cells import zero_carry
from signalprop.models.mlp import draw_layer
from signalprop.models.sequence import SequenceModel

PARTS = ("before", "between")  # before the first mark, and from the first to the second
STAGES = ("before training", "after training")
TASK = TASKS["adding"]
WATCHED = 32  # test sequences along which gates are read
FOLLOWED = 4  # of which changes are followed too
CLEAR = 5  # standard errors beyond which a difference counts as seen
WEBERNA = "weberna.github.io (2017), 'Why LSTMs Stop Your Gradients From Vanishing'"
JOZEFOWICZ = "Jozefowicz, Zaremba & Sutskever (2015), ICML 37"


@dataclass(frozen=True)
class Settings:
    """Settings of ``learned-gates``."""

    forget_bias: tuple[float, ...] = (0.0, 3.0)
    """Biases of the forget gate at the start."""
    length: int = 20
    """Steps T of a sequence."""
    units: int = 12
    """Units of the LSTM."""
    updates: int = 200
    """Updates by Adam."""
    records: int = 20
    """Points of the learning curves; divides the updates."""
    batch_size: int = 16
    """Sequences per update."""
    learning_rate: float = 0.01
    """Learning rate."""
    seeds: int = 12
    """Networks per bias."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and states."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_finite("forget_bias", self.forget_bias)
        for name in ("units", "updates", "records", "batch_size"):
            require_count(name, [getattr(self, name)])
        require_count("length", [self.length], least=4)
        if self.updates % self.records:
            raise ValueError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        forget_bias=(-1.0, 0.0, 1.0, 3.0, 5.0),
        length=40,
        units=24,
        updates=800,
        records=40,
        batch_size=20,
        learning_rate=0.005,
    ),
    "full": Settings(
        forget_bias=(-1.0, 0.0, 1.0, 2.0, 3.0, 5.0),
        length=150,
        units=64,
        updates=10_000,
        records=100,
        batch_size=32,
        learning_rate=0.003,
        seeds=20,
    ),
}


def grid(settings: Settings) -> Grid:
    """One program: all biases share their draws and their sequences."""
    names = ("length", "units", "updates", "records", "batch_size", "learning_rate", "dtype")
    stride = settings.updates // settings.records
    return Grid(
        static={"cell": ("lstm",)},
        traced={"forget_bias": settings.forget_bias},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in names},
        coords={
            "update": [stride * (i + 0.5) for i in range(settings.records)],
            "stage": STAGES,
            "offset": OFFSETS,
            "term": TERMS,
            "part": PARTS,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network; look at it before and after."""
    units, length, dtype = static["units"], static["length"], static["dtype"]
    cell_key, readout_key, train_key, test_key = jax.random.split(key, 4)
    cell = find_cell(static["cell"])(
        cell_key,
        TASK.features,
        units,
        gain=1.0,
        input_scale=jnp.asarray(TASK.features**0.5, dtype),
        forget_bias=point["forget_bias"],
        dtype=dtype,
    )
    model = SequenceModel(cell, draw_layer(readout_key, 1, units, TASK.outputs, dtype=dtype))
    draw = partial(TASK.draw, length=length, batch_size=static["batch_size"], dtype=dtype)
    trained = train(
        train_key,
        model,
        TASK.loss,
        draw,
        optax.adam(static["learning_rate"]),
        static["updates"],
        static["records"],
        clip_norm=1.0,
    )
    test = TASK.test(test_key, length, 10 * WATCHED, dtype=dtype)
    loss, aside = TASK.loss(trained.model, test)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    return {
        "curve": trained.record["loss"],
        "solved": (TASK.solved(loss, aside["correct"]) & (trained.diverged_at == 0)).astype(dtype),
        **jax.vmap(lambda m: look(m, test, test_key))(both),
    }


def look(model: SequenceModel, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
    """Gates and gradient by time from the first mark, the four terms, and the decay of a change of c_0."""
    cell: Any = model.cell
    readout = model.readout.kernel[:, 0]
    inputs = jnp.swapaxes(batch.inputs, 0, 1)  # sequences first

    def gates(x: jax.Array) -> dict[str, jax.Array]:
        def step(carry: Any, x: jax.Array) -> Any:
            found = activities(cell, carry[1], x)
            return cell(carry, x)[0], (jnp.mean(jnp.log(found.f)), jnp.mean(found.i))

        zero = zero_carry(cell)
        _, (log_f, i) = jax.lax.scan(step, zero, x)
        sizes = gradient_by_lag(cell, zero, x, (jnp.zeros_like(readout), readout)).log_norm[::-1]
        place, (first, second) = jnp.array(OFFSETS), jnp.sort(jax.lax.top_k(x[:, 1], 2)[1])
        place = first + place
        inside = (place >= 0) & (place < second)  # the window ends before the second mark
        near = {"log_f": log_f, "input_gate": i, "gradient": sizes[1:] - sizes[first + 1]}
        window = {name: jnp.where(inside, values[place], jnp.nan) for name, values in near.items()}
        # dL/dcarry_t for t = 0..T; the first number enters with carry first + 1.
        between = (sizes[first + 1] - sizes[second]) / (second - first - 1)
        before = (sizes[0] - sizes[first]) / first
        rates = jnp.where((first > 0) & (second > first + 1), jnp.stack([before, between]), jnp.nan)
        return window | {"rates": rates}

    def changes(x: jax.Array) -> dict[str, jax.Array]:
        found = follow(lambda _: cell, x, key)
        return {"exponent": found["log_norm"][-1, 0] / len(x), "terms": found["terms"].mean(0)}

    read = jax.vmap(gates)(inputs[:WATCHED])
    followed = jax.vmap(changes)(inputs[:FOLLOWED])
    return {name: jnp.nanmean(values, 0) for name, values in (read | followed).items()}


def theory(settings: Settings) -> xr.Dataset:
    """The lifetime that a constant gate of each bias gives, and the loss at chance."""
    return xr.Dataset(
        {
            "lifetime_predicted": (("forget_bias",), forget_lifetime(np.array(settings.forget_bias))),
            "chance_predicted": TASK.chance(settings.length),
        },
        coords={"forget_bias": list(settings.forget_bias)},
    )


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """State what training does to gradients, gates, terms, and to the chance of success."""
    at = result.isel(cell=0).sortby("forget_bias")
    found = [*_kept(at), *_opened(at)]
    low = at["rates"].sel(part="between").isel(forget_bias=0)
    change = low.sel(stage=STAGES[1]) - low.sel(stage=STAGES[0])
    found.append(observe(
        ["D21", "D20"], "Growth per step of the gradient back from the second mark to the first at the "
        f"smallest bias, {float(low['forget_bias']):g}: {float(low.sel(stage=STAGES[0]).mean()):+.3f} before "
        "training; after it minus before", WEBERNA,
        measured=float(change.mean()), uncertainty=float(standard_error(change)),
        claim=_if_above_zero(change, "right"),
    ))  # fmt: skip
    share = at["terms"].sel(term="carousel") / at["terms"].sel(term="sum")
    first, last = (share.sel(stage=stage).mean("forget_bias") for stage in STAGES)
    found.append(observe(
        ["D18", "D22"], "Share of diag f in |dc_t/dc_{t-1}|_F^2 after training, all biases "
        f"({float(first.mean()):.3f} before)", WEBERNA,
        measured=float(last.mean()), uncertainty=float(standard_error(last)),
    ))  # fmt: skip
    half = at["curve"] < at["chance_predicted"] / 2
    learned = at["update"].isel(update=half.argmax("update")).where(half.any("update"))
    rates = ", ".join(f"{float(share):.2f}" for share in at["solved"].mean("seed"))
    later = learned.isel(forget_bias=0) - learned.isel(forget_bias=-1)
    found.append(observe(
        ["D20"], f"Share of networks that solve the task at forget biases {_biases(at)}: {rates}. Updates "
        "until the loss is half that of chance, at the first bias minus at the last", JOZEFOWICZ,
        measured=float(later.mean()), uncertainty=float(_error(later)),
        claim=_if_above_zero(later, "right"),
    ))  # fmt: skip
    return found


def _if_above_zero(values: xr.DataArray, claim: Standing) -> Standing:
    """What a clearly positive mean over networks says of the claim; nothing can be said without one."""
    return claim if float(values.mean()) > CLEAR * float(_error(values)) else "not checkable"


def _kept(at: xr.Dataset) -> list[Verdict]:
    """Whether the gradient is kept between the marks better than before; biases share draws and sequences."""
    rates = at["rates"].where(at["solved"] > 0)
    apart = rates.sel(part="between") - rates.sel(part="before")
    first, last = (apart.sel(stage=stage) for stage in STAGES)
    pooled = last.mean("forget_bias").dropna("seed")
    if pooled.size < 2:
        return []
    return [observe(
        ["D21"], "Growth per step of the gradient back from the second mark to the first, minus that before "
        f"the first, in networks that solve the task, mean over biases: {float(first.mean()):+.3f} before "
        f"training; after it {_by_bias(last, 3)} at biases {_biases(at)}, as a mean", WEBERNA,
        measured=float(pooled.mean()), uncertainty=float(standard_error(pooled)),
        claim=_if_above_zero(pooled, "right after repair"),
        correction="The gradient is kept where the task needs it; the mean forget gate shows this only at "
        "small biases.",
    )]  # fmt: skip


def _opened(at: xr.Dataset) -> list[Verdict]:
    """How much wider forget gates are open between the marks than before."""
    log_f = at["log_f"].where(at["solved"] > 0)
    between, before = log_f.where(at["offset"] > 0), log_f.where(at["offset"] < 0)
    wider = between.mean("offset") - before.mean("offset")
    first, last = (wider.sel(stage=stage) for stage in STAGES)
    low = last.isel(forget_bias=0)
    if int(low.count()) < 2:
        return []
    return [observe(
        ["D21"], f"Mean log f in the {max(OFFSETS)} steps after the first mark minus that in the "
        f"{-min(OFFSETS)} before, in networks that solve the task, at biases {_biases(at)}: "
        f"{_by_bias(last, 4)} ({_by_bias(first, 4)} before training). At the first", WEBERNA,
        measured=float(low.mean()), uncertainty=float(_error(low)),
        claim=_if_above_zero(low, "right after repair"),
        correction="The gradient is kept where the task needs it; the mean forget gate shows this only at "
        "small biases.",
    )]  # fmt: skip


def _biases(at: xr.Dataset) -> str:
    return ", ".join(f"{float(b):g}" for b in at["forget_bias"])


def _by_bias(values: xr.DataArray, digits: int) -> str:
    """Means and standard errors, for reading."""
    pairs = zip(values.mean("seed").values, _error(values).values, strict=True)
    return ", ".join(f"{mean:+.{digits}f} ({error:.{digits}f})" for mean, error in pairs)


def _error(values: xr.DataArray) -> xr.DataArray:
    """Standard error over the networks that count."""
    error: xr.DataArray = values.std("seed", ddof=1) / values.count("seed") ** 0.5
    return error


def table(result: xr.Dataset) -> pd.DataFrame:
    """Success, exponent, gates and terms by bias, before and after training."""
    at = result.isel(cell=0, drop=True)
    columns = {name: at[name].mean("seed") for name in ("solved", "exponent")}
    errors = {"exponent_error": standard_error(at["exponent"])}
    rates = {f"gradient_{part}": at["rates"].sel(part=part, drop=True).mean("seed") for part in PARTS}
    terms = {f"{term}_square": at["terms"].sel(term=term, drop=True).mean("seed") for term in TERMS}
    found = xr.Dataset({**columns, **errors, **rates, **terms})
    return found.to_dataframe(["stage", "forget_bias"]).reset_index()


EXPERIMENT = Experiment(
    name="learned-gates",
    question="Does a trained LSTM keep its gradient where the task needs it, by its gates?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "curve": Variable(("update",), "mean square error in training"),
        "solved": Variable((), "1 if the task is solved"),
        "log_f": Variable(
            ("stage", "offset"), "mean log of the forget gates by time from the first mark", "nats"
        ),
        "input_gate": Variable(("stage", "offset"), "mean input gate by time from the first mark"),
        "gradient": Variable(("stage", "offset"), "log |dL/d(c_t, h_t)| by time from the first mark", "nats"),
        "rates": Variable(("stage", "part"), "growth of the gradient per step, back in time", "nats"),
        "exponent": Variable(("stage",), "growth per step of a change of c_0, along (c, h)", "nats"),
        "terms": Variable(("stage", "term"), "|A|_F^2 / N of the terms of dc_t/dc_{t-1}"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
