r"""Do the eigenvalues of the recurrent weights tell whether gradients through time vanish or explode?

Random networks h_t = phi(g W h_{t-1} + s x_t), x_t ~ N(0, I), of every activation, ensemble of W, gain g and
input s; W is Gaussian, orthogonal, the identity, Pascanu's sparse matrices of given spectral radius ("smart
tanh") or nilpotent, [[A, -A], [A, -A]], whose eigenvalues are all 0. Measured: the growth per step of a
gradient dL/dh_{T-k} with the lag k, in the log domain, beside spectral radius, largest singular value,
numerical radius, and the growth of a change over 100 steps of other inputs (a Lyapunov exponent). Each rule
"above 1 it explodes, below 1 it vanishes" is counted against the measured sign. Networks of five usual
initializations are trained on the adding problem, with the eigenvalues of W before and after.

Theory:

* The Jacobian of k steps is a product of D_t W. With slopes of at most gamma it is at most
  (gamma s_max(W))^k: s_max < 1/gamma is sufficient for vanishing, s_max > 1/gamma necessary for exploding
  (Pascanu et al., arXiv 1211.5063). The spectral radius decides for a linear network only.
* Wide networks of independent entries grow by sqrt(chi_1), chi_1 = g^2 E phi'^2 (mean field with input as
  bias). relu without input: g / sqrt 2 for Gaussian and orthogonal W, g for the identity.
* The nilpotent ensemble: (1/2) log[g^2 E (phi'(z) - phi'(z'))^2], derived in `analysis.recurrent`.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr

from signalprop.analysis import chaos, ginibre, lyapunov, meanfield, recurrent
from signalprop.analysis.eigenvalues import eigenvalues
from signalprop.analysis.timelag import gradient_by_lag
from signalprop.analysis.trajectory import Step
from signalprop.bench.audit import audit, recurrence, settings_table, slope
from signalprop.bench.drawings.recurrent_eigenvalues import figures
from signalprop.bench.eigenvalue_verdicts import verdicts
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.ensembles import NILPOTENT, ensemble
from signalprop.bench.training import tasks
from signalprop.bench.training.trainer import train
from signalprop.models.activations import ACTIVATIONS, activation, chosen
from signalprop.models.initializers import SCHEMES, Scheme
from signalprop.models.mlp import draw_layer
from signalprop.models.recurrent import draw_vanilla
from signalprop.models.sequence import SequenceModel

TRANSIENT = 50  # steps before anything is counted
OTHER_STEPS = 100  # steps of the exponent that is used as a rule
TRAINED = {
    "Gaussian": ("gaussian", 1.0, "tanh"),
    "orthogonal": ("orthogonal", 1.0, "tanh"),
    "smart tanh": ("smart_tanh", 0.95, "tanh"),
    "half identity": ("scaled_identity", 0.5, "tanh"),
    "IRNN": ("scaled_identity", 1.0, "relu"),
}
"""Scheme, gain and activation of the networks that are trained."""
STAGES = ("before", "after")
RECORDS = 10  # parts of the training
RANGE = 700.0  # nats from 1 to the ends of float64


def trained_cells(ensembles: tuple[str, ...]) -> tuple[str, ...]:
    """The networks that are trained: those whose matrices are drawn."""
    return tuple(name for name, (scheme, _, _) in TRAINED.items() if scheme in ensembles)


@dataclass(frozen=True)
class Settings:
    """Settings of ``recurrent-eigenvalues``."""

    ensemble: tuple[str, ...] = ("gaussian", "orthogonal", "scaled_identity", "smart_tanh", NILPOTENT)
    """Ensembles of W: schemes of the suite, and nilpotent."""
    activation: tuple[str, ...] = ("linear", "tanh", "relu", "sigmoid")
    """Activations."""
    gain: tuple[float, ...] = (0.5, 0.8, 1.0, 1.6, 3.2)
    """Factors g of W."""
    input_std: tuple[float, ...] = (0.0, 1.0)
    """Standard deviations s of the input to each unit."""
    width: int = 32
    """Units N of the networks of the audit."""
    steps: int = 150
    """Largest lag; the growth is taken from a fifth of it on."""
    length: int = 12
    """Steps of the adding problem."""
    updates: int = 60
    """Adam steps on fresh batches."""
    batch_size: int = 20
    """Sequences per batch."""
    learning_rate: float = 3e-3
    """Of Adam, with gradients clipped to norm 1."""
    seeds: int = 16
    """Independent repetitions; the networks of one share their draws."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights and states; float32 loses linear networks that grow."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("ensemble", self.ensemble, (*SCHEMES, NILPOTENT))
        require_known("activation", self.activation, ACTIVATIONS)
        require_scale("gain", self.gain)
        require_scale("input-std", self.input_std)
        require_count("width", [self.width], 16)
        require_count("steps", [self.steps], 20)
        require_count("length", [self.length], 4)
        if self.updates < RECORDS or self.updates % RECORDS:
            raise ValueError(f"updates: got {self.updates}; write a multiple of {RECORDS}")
        require_count("batch-size", [self.batch_size])
        require_count("seeds", [self.seeds], 2)
        for gain in self.gain:
            if gain == 0 or max(math.log(gain) + 0.15, 0.5 - math.log(gain)) > RANGE / (
                self.steps + TRANSIENT
            ):
                raise ValueError(
                    f"gain: got {gain}; a linear or relu state leaves float64, write one nearer 1"
                )
        if not trained_cells(self.ensemble):
            raise ValueError(f"ensemble: got {', '.join(self.ensemble)}; write gaussian or another to train")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        gain=(0.3, 0.5, 0.8, 1.0, 1.2, 1.3, 1.6, 2.2, 3.2, 4.5),
        input_std=(0.0, 0.3, 1.0),
        width=64,
        steps=300,
        length=20,
        updates=400,
    ),
    "full": Settings(
        gain=(0.4, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.6, 1.9, 2.2, 2.7, 3.2, 4.0),
        input_std=(0.0, 0.1, 0.3, 1.0, 2.0),
        width=256,
        steps=400,
        length=50,
        updates=5000,
        batch_size=64,
        seeds=32,
    ),
}


def grid(settings: Settings) -> Grid:
    """One program: all networks of one seed at once."""
    names = ("ensemble", "activation", "gain", "input_std", "steps", "length", "updates")
    return Grid(
        static={"width": (settings.width,)},
        traced={},
        seeds=settings.seeds,
        constants={
            name: getattr(settings, name) for name in (*names, "batch_size", "learning_rate", "dtype")
        },
        coords={
            "ensemble": settings.ensemble,
            "activation": settings.activation,
            "gain": settings.gain,
            "input_std": settings.input_std,
            "index": range(1, settings.width + 1),
            "cell": trained_cells(settings.ensemble),
            "stage": STAGES,
        },
    )


def theory(settings: Settings) -> xr.Dataset:
    """Mean-field exponents of every setting, and the growth predicted where there is a theory."""
    names, n = settings.activation, settings.width
    gains, noises = np.array(settings.gain), np.array(settings.input_std)
    sigma_w = np.array([ensemble(name).effective_sigma_w(n, n) for name in settings.ensemble])
    mean_field, variety, nilpotent = _exponents(names, sigma_w, gains, noises)
    linear = np.array([name == "linear" for name in names])[:, None, None]
    homogeneous = np.array([activation(name).homogeneous for name in names])[:, None, None]
    smooth, quiet = (noises > 0) & ~homogeneous, linear | (homogeneous & (noises == 0))
    predicted, size = np.full(mean_field.shape, np.nan), np.full(mean_field.shape, np.nan)
    for i, name in enumerate(settings.ensemble):
        if name in ("gaussian", "orthogonal"):
            family: chaos.Weights = "gaussian" if name == "gaussian" else "orthogonal"
            correction = np.asarray(chaos.finite_width_correction(variety[i], n, family))
            predicted[i], size[i] = np.where(smooth, mean_field[i] + correction, np.nan), -correction
        if name == "scaled_identity":
            predicted[i] = np.where(quiet, np.log(gains)[:, None], np.nan)
        if name == NILPOTENT:
            predicted[i] = np.where(noises > 0, nilpotent, -np.inf)
    by_network = ("ensemble", "activation", "gain", "input_std")
    return xr.Dataset(
        {
            "counted": ((), float(settings.steps - settings.steps // 5)),
            "mean_field": (by_network, mean_field),
            "slope_predicted": (by_network, predicted),
            "finite_width": (by_network, size),
            "half_radius": ((), ginibre.mean_spectral_radius(n // 2)),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k in by_network},
    )


def _exponents(names: tuple[str, ...], sigma_w: np.ndarray, gains: np.ndarray, noises: np.ndarray) -> Any:
    """Mean-field exponents and variety of slopes of all ensembles, exponents of nilpotent weights."""

    def mean_field(phi: Any, gain: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = chaos.mean_field_q(phi, gain, noise)
        return jnp.log(meanfield.chi_1(phi, q, gain)) / 2, chaos.slope_variety(phi, q)

    def of_one(index: jax.Array) -> Any:
        phi, scales = chosen(names, index), np.outer(sigma_w, gains).ravel()
        return over(partial(mean_field, phi), scales), over(partial(recurrent.nilpotent_exponent, phi), gains)

    def over(f: Any, scales: np.ndarray) -> Any:
        return jax.vmap(lambda gain: jax.vmap(partial(f, gain))(noises))(scales)

    wide, nilpotent = jax.jit(lambda: jax.lax.map(of_one, jnp.arange(len(names))))()
    shape = (len(names), sigma_w.size, gains.size, noises.size)
    exponents, variety = (np.moveaxis(np.asarray(values).reshape(shape), 1, 0) for values in wide)
    return exponents, variety, np.asarray(nilpotent)


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Matrices of every ensemble, the growth of gradients through all networks, and training."""
    width, dtype = static["width"], static["dtype"]
    keys = jax.random.split(key, 3)
    drawn = [ensemble(name).draw(keys[0], width, width, dtype=dtype).T for name in static["ensemble"]]
    weights = jnp.stack(drawn)
    values = jax.vmap(eigenvalues)(weights)
    grown, exponents = _follow_all(keys[1], weights, static)
    return {
        "slope": grown,
        "lyapunov": exponents,
        "real": values.real,
        "imaginary": values.imag,
        "radius": jnp.max(jnp.abs(values), -1),
        "largest": jax.vmap(recurrent.largest_singular_value)(weights),
        "numerical": jax.lax.map(recurrent.numerical_radius, weights),
        **_train_all(keys[2], weights, static),
    }


def _follow_all(key: jax.Array, weights: jax.Array, static: Static) -> tuple[jax.Array, jax.Array]:
    """Growth by lag and exponent of every network; gains and inputs share products with the matrices."""
    gains, noises = (jnp.array(static[name], weights.dtype) for name in ("gain", "input_std"))

    def follow(index: jax.Array) -> Any:
        phi = chosen(static["activation"], index)

        def one(matrix: jax.Array, gain: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
            return _follow(key, recurrence(phi, matrix, gain, noise), static["steps"], matrix)

        by_noise = jax.vmap(one, (None, None, 0))
        by_gain = jax.vmap(by_noise, (None, 0, None))
        return jax.vmap(by_gain, (0, None, None))(weights, gains, noises)

    slopes, exponents = jax.lax.map(follow, jnp.arange(len(static["activation"])))
    return jnp.swapaxes(slopes, 0, 1), jnp.swapaxes(exponents, 0, 1)


def _follow(key: jax.Array, step: Step, steps: int, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Growth of a random gradient by lag, and of a change over other inputs, of one network."""
    length = TRANSIENT + steps
    draws = jax.random.normal(key, (length + TRANSIENT + OTHER_STEPS + 2, len(like)), like.dtype)
    inputs, other, start, vector = draws[:length], draws[length:-2], draws[-2], draws[-1]
    profile = gradient_by_lag(step, start, inputs, vector, steps)
    exponent = lyapunov.spectrum(step, start, other, 1, transient=TRANSIENT).exponents[0]
    return slope(profile.log_norm), exponent


def _train_all(key: jax.Array, weights: jax.Array, static: Static) -> dict[str, jax.Array]:
    """Train one network of each usual initialization on the adding problem, from the drawn matrices."""
    cells = [TRAINED[name] for name in trained_cells(static["ensemble"])]
    kernels = jnp.stack([gain * weights[static["ensemble"].index(name)].T for name, gain, _ in cells])
    phis = tuple(dict.fromkeys(phi for *_, phi in TRAINED.values()))
    index = jnp.array([phis.index(phi) for *_, phi in cells])
    found = jax.lax.map(lambda at: _train(key, at[0], chosen(phis, at[1]), static), (kernels, index))
    return {f"trained_{name}": values for name, values in found.items()}


def _train(key: jax.Array, kernel: jax.Array, phi: Any, static: Static) -> dict[str, jax.Array]:
    """Eigenvalues, largest singular value and growth by lag of one network before and after training."""
    length, dtype, units = static["length"], kernel.dtype, len(kernel)
    draw_batch = partial(tasks.draw_adding, length=length, batch_size=static["batch_size"], dtype=dtype)
    given = Scheme("given", lambda *_: kernel)
    keys = jax.random.split(key, 5)
    cell = draw_vanilla(keys[0], 2, units, phi, given, dtype=dtype)
    model = SequenceModel(cell, draw_layer(keys[1], 1, units, 1, dtype=dtype))
    optimizer, clip_norm = optax.adam(static["learning_rate"]), jnp.asarray(1.0, dtype)
    trained = train(
        keys[2],
        model,
        tasks.squared_error,
        draw_batch,
        optimizer,
        static["updates"],
        RECORDS,
        clip_norm=clip_norm,
    )
    batch = tasks.draw_adding(keys[3], 10 * length, static["batch_size"], dtype=dtype)
    vector = jax.random.normal(keys[4], (units,), dtype)

    def look(model: Any) -> dict[str, jax.Array]:
        matrix = model.cell.dense_h.kernel[...].T
        values = eigenvalues(matrix)
        profile = gradient_by_lag(model.cell, jnp.zeros_like(vector), batch.inputs[:, 0], vector)
        return {
            "real": values.real,
            "imaginary": values.imag,
            "largest": recurrent.largest_singular_value(matrix),
            "slope": slope(profile.log_norm),
        }

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, trained.model)
    loss = trained.record["loss"]
    return {**jax.lax.map(look, both), "loss": jnp.stack([loss[0], loss[-1]])}


def table(result: xr.Dataset) -> pd.DataFrame:
    """Accuracy of every rule, over all networks and by activation and ensemble; then every setting."""
    at = result.isel(width=0)
    parts = [audit(at).assign(part="all")]
    for axis in ("activation", "ensemble"):
        parts += [audit(at, {axis: name}).assign(part=str(name)) for name in at[axis].values]
    return pd.concat([pd.concat(parts), settings_table(at)])


_NETWORK = ("ensemble", "activation", "gain", "input_std")

EXPERIMENT = Experiment(
    name="recurrent-eigenvalues",
    question="Do the eigenvalues of recurrent weights tell whether gradients vanish or explode?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "slope": Variable(_NETWORK, "growth of the gradient per step of lag", "nats"),
        "lyapunov": Variable(_NETWORK, "exponent over 100 steps of other inputs", "nats per step"),
        "real": Variable(("ensemble", "index"), "real parts of the eigenvalues at gain 1"),
        "imaginary": Variable(("ensemble", "index"), "imaginary parts of the eigenvalues at gain 1"),
        "radius": Variable(("ensemble",), "spectral radius at gain 1"),
        "largest": Variable(("ensemble",), "largest singular value at gain 1"),
        "numerical": Variable(("ensemble",), "numerical radius at gain 1"),
        "trained_real": Variable(("cell", "stage", "index"), "real parts of the eigenvalues"),
        "trained_imaginary": Variable(("cell", "stage", "index"), "imaginary parts of the eigenvalues"),
        "trained_largest": Variable(("cell", "stage"), "largest singular value"),
        "trained_loss": Variable(("cell", "stage"), "mean square error, first and last tenth of the updates"),
        "trained_slope": Variable(("cell", "stage"), "growth of the gradient per step of lag", "nats"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
