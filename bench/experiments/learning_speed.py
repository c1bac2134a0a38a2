r"""Do the layers near the input learn more slowly than those near the output, and what evens them out?

Nielsen's experiment: sigmoid networks with hidden layers of 30 units, weights N(0, 1/n), biases N(0, 1) and
ten sigmoid outputs with cross-entropy are trained on the first 1,000 images, all in one batch, with learning
rate 0.1 and weight decay lambda = 5, for 500 epochs. His speed of a hidden layer is the norm of its mean
error, |mean over examples of delta^l|, which is the gradient of its biases. The images are the digits bundled
with scikit-learn, 8 x 8 pixels; with ``--data mnist`` his own. Layer 1 is the one next to the input.

Measured: that speed and that of the weights, of untrained networks of 1 to 8 hidden layers and in every fifth
epoch; the distance of every layer's weights from their start; the same for relu at He's scale, tanh at
Xavier's, batch norm and residual layers. Between these the gradients of the weights are compared: batch norm
takes the mean over examples out of the layer below, and with it the mean error.

Theory: the squared error of one example falls by chi_1 = sigma_w^2 E phi'^2 per layer towards the input; for
Nielsen's sigmoids the norm falls by 1/sqrt(chi_1) = 4.88 at the fixed point. The mean error of examples whose
pre-activations have the cosine c falls by sigma_w^2 E phi'(u) phi'(u') instead, nearly the same, since layers
of sigmoids make all examples alike. At width N the mean logarithm moves by -(3 mu_2 / mu_1^2 - 1) / (2 N) per
layer. Where the gradient is small against the decay, weights move by 1 - (1 - eta lambda / n)^epochs alone.

Sources: Nielsen, "Neural Networks and Deep Learning", chapter 5 (2015); Schoenholz et al. (2017),
arXiv:1611.01232.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.finitewidth import log_gain_as_if_independent
from signalprop.analysis.statistics import log_norm
from signalprop.bench.drawings.learning_speed import figures
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_scale, require_values
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.learners import Learner, cost, cross_entropy, find_learner, first_examples
from signalprop.bench.learning_speed_verdicts import verdicts
from signalprop.bench.training.diagnostics import kernel_norms
from signalprop.bench.training.optimizers import optimizer, require_learning_rates
from signalprop.bench.training.trainer import log_global_norm, train
from signalprop.models.activations import activation
from signalprop.models.classifier import Block, Classifier
from signalprop.models.mlp import scan_run

TO_DECADES = 1 / float(np.log(10))


@dataclass(frozen=True)
class Settings:
    """Settings of ``learning-speed``."""

    network: tuple[str, ...] = ("sigmoid-4", "relu-4")
    """Networks of ``bench.learners`` with the hidden layers that are trained, as ``sigmoid-4``."""
    data: str = "digits"
    """Images: digits, or mnist, fashion_mnist, cifar10 where present."""
    examples: int = 200
    """Training examples n, in one batch."""
    width: int = 30
    """Units of a hidden layer."""
    learning_rate: float = 0.1
    """Learning rate eta."""
    decay: float = 5.0
    """Nielsen's lambda: weights, not biases, shrink by 1 - eta lambda / n per epoch."""
    epochs: int = 100
    """Updates."""
    records: int = 20
    """Looks at the network; divides the epochs."""
    depth: int = 8
    """Most hidden layers of the untrained networks."""
    starts: int = 5
    """Untrained networks of each number of layers, beside every trained one."""
    seeds: int = 4
    """Trained networks of each kind."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_values("network", self.network)
        deepest = max(find_learner(name)[1] for name in self.network)
        first_examples(self.data, self.examples)
        require_learning_rates((self.learning_rate,))
        require_scale("decay", (self.decay,))
        for axis in ("examples", "width", "epochs", "records", "starts", "seeds"):
            require_count(axis, (getattr(self, axis),))
        require_count("depth", (self.depth,), max(2, deepest))
        if self.epochs % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.epochs} epochs")


NIELSEN = ("sigmoid-2", "sigmoid-3", "sigmoid-4", "relu-4", "tanh-4", "batch_norm-4", "residual-4")
SIZES = {
    "quick": Settings(),
    "standard": Settings(network=NIELSEN, examples=1000, epochs=500, records=100, seeds=10),
    "full": Settings(network=NIELSEN, examples=1000, epochs=500, records=100, starts=10, seeds=100),
}


def grid(settings: Settings) -> Grid:
    """One compilation per network."""
    stride = settings.epochs // settings.records
    constants = (
        "data", "examples", "width", "learning_rate", "decay", "epochs", "records", "depth", "starts",
        "dtype",
    )  # fmt: skip
    return Grid(
        static={"network": settings.network},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "epoch": [stride * i for i in range(settings.records)],
            "layer": range(1, settings.depth + 1),
            "start": range(settings.starts),
            "depth": range(1, settings.depth + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one network, and look at many untrained ones of every depth."""
    (kind, depth), dtype = find_learner(static["network"]), static["dtype"]
    batch = examples(static)
    draw_key, train_key, start_key = jax.random.split(key, 3)
    model = kind.draw(draw_key, batch[0].shape[1], static["width"], depth, dtype)

    def observe(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
        return {
            "speed": bias_speeds(gradients),
            "weight_speed": kernel_norms(gradients)[:-1],
            "moved": moved(model, first),
        }

    first = model
    step = optimizer(
        "sgd", static["learning_rate"], l2=static["decay"] / static["examples"], decay_biases=False
    )
    trained = train(
        train_key, model, cross_entropy, lambda key: batch, step, static["epochs"], static["records"], observe
    )
    untrained = jax.lax.map(
        lambda k: profiles(k, kind, static), jax.random.split(start_key, static["starts"])
    )
    return {
        **{name: trained.record[name] for name in ("speed", "weight_speed", "moved", "accuracy")},
        "moved_at_end": moved(trained.model, first),
        **untrained,
    }


def examples(static: Static) -> tuple[jax.Array, jax.Array]:
    """The batch: images and the wanted outputs."""
    x, target = first_examples(static["data"], static["examples"])
    return jnp.asarray(x, static["dtype"]), jnp.asarray(target, static["dtype"])


def bias_speeds(gradients: Any) -> jax.Array:
    """Log of the norm of the mean error of every hidden layer: of the gradient of its bias, or its shift."""
    runs = [gradients.runs[i] for i in range(len(gradients.runs))]
    shifts = [getattr(run, "shift", None) for run in runs]
    parts = [run.layer.bias if shift is None else shift for run, shift in zip(runs, shifts, strict=True)]
    return jnp.concatenate([jax.vmap(log_global_norm)(part[...]) for part in parts])


def moved(model: Classifier, first: Classifier) -> jax.Array:
    """Distance of every hidden layer's weights from their start, over the norm of that start."""
    change = [
        jax.vmap(log_global_norm)(now.layer.kernel[...] - then.layer.kernel[...])
        for now, then in zip(model.runs, first.runs, strict=True)
    ]
    return jnp.exp(jnp.concatenate(change) - kernel_norms(first)[:-1])


def profiles(key: jax.Array, kind: Learner, static: Static) -> dict[str, jax.Array]:
    """Errors of one set of weights at every number of layers.

    Returns:
        ``mean_error`` and ``rms_error``: natural logs, over units, of the norm of the mean over examples of
        delta^l, and of the root mean square over examples of its norm; (depth, layer), NaN above the last
        layer. ``mean_output`` and ``rms_output``: the same of the output's error, (depth,).
    """
    x, target = examples(static)
    model = kind.draw(key, x.shape[1], static["width"], static["depth"], static["dtype"])

    def one(depth: jax.Array) -> dict[str, jax.Array]:
        hidden = jnp.zeros((static["depth"], len(x), static["width"]), x.dtype)
        output = jnp.zeros(target.shape, x.dtype)
        errors = jax.grad(lambda shifts: cost(cut(model, x, depth, *shifts), target))((hidden, output))
        mean, rms = zip(*(sizes(delta) for delta in errors), strict=True)
        there = jnp.arange(1, static["depth"] + 1) <= depth
        return {
            "mean_error": jnp.where(there, mean[0], jnp.nan), "rms_error": jnp.where(there, rms[0], jnp.nan),
            "mean_output": mean[1], "rms_output": rms[1],
        }  # fmt: skip

    by_depth: dict[str, jax.Array] = jax.lax.map(one, jnp.arange(1, static["depth"] + 1))
    return by_depth


def sizes(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logs of |sum over examples| and of the root mean square over n examples of n |delta|."""
    count = delta.shape[-2]
    rms = log_norm(delta.reshape(*delta.shape[:-2], -1), -1) + np.log(count) / 2
    return log_norm(delta.sum(-2), -1), rms


def cut(model: Classifier, x: jax.Array, depth: jax.Array, hidden: jax.Array, output: jax.Array) -> jax.Array:
    """Logits after the first ``depth`` layers, with shifts added to every z and to the logits."""

    def step(y: jax.Array, part: tuple[Block, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        block, shift, number = part
        above = block.above(y, block.pre_activation(y) + shift)
        return (above if y.shape != above.shape else jnp.where(number <= depth, above, y)), None

    y, below = x, 0
    for run in model.runs:
        layers = below + jnp.arange(len(run.scale[...]))
        y, _ = scan_run(step, y, (run, hidden[layers], layers + 1))
        below += len(layers)
    return model.readout(y) + output


def theory(settings: Settings) -> xr.Dataset:
    """Decades by which errors fall towards the input in plain networks, layer by layer; and the decay."""
    x, _ = first_examples(settings.data, settings.examples)
    q_0, c_0 = np.mean(x**2), np.mean(x.mean(0) ** 2) / np.mean(x**2)
    lost = [_lost(find_learner(name)[0], settings, float(q_0), float(c_0)) for name in settings.network]
    mean, rms = np.swapaxes(np.array(lost), 0, 1)
    shrink = 1 - settings.learning_rate * settings.decay / settings.examples
    return xr.Dataset(
        {
            "mean_step_predicted": (("network", "layer"), mean),
            "rms_step_predicted": (("network", "layer"), rms),
            "moved_by_decay_predicted": 1 - shrink**settings.epochs,
            "moved_by_decay_by_epoch": ("epoch", 1 - shrink ** np.array(grid(settings).coords["epoch"])),
        },
        coords={"network": list(settings.network), "layer": range(1, settings.depth + 1)},
    )


def _lost(kind: Learner, settings: Settings, q_0: float, c_0: float) -> tuple[np.ndarray, np.ndarray]:
    """Decades from delta^(l+1) to delta^l, of the mean over examples and of one; NaN without a theory."""
    if not kind.plain:
        return (np.full(settings.depth, np.nan),) * 2
    phi, depth = activation(kind.activation), settings.depth

    def factors() -> tuple[jax.Array, jax.Array, jax.Array]:
        q = meanfield.length_trajectory(phi, kind.sigma_w, kind.sigma_b, q_0, depth)
        c = meanfield.correlation_trajectory(phi, kind.sigma_w, kind.sigma_b, q_0, c_0, depth)
        pair = jax.vmap(lambda c, q: meanfield.correlation_slope(phi, c, q, kind.sigma_w))(c, q)
        first = jax.vmap(lambda q: meanfield.derivative_moment(phi, q))(q)
        second = jax.vmap(lambda q: meanfield.derivative_moment(phi, q, 2))(q)
        return pair, first, second

    pair, mu_1, mu_2 = map(np.asarray, jax.jit(factors)())
    shift = np.diff(log_gain_as_if_independent(mu_2 / mu_1**2, settings.width).mean, prepend=0)
    chi = kind.sigma_w**2 * mu_1
    mean, rms = (-TO_DECADES / 2 * (np.log(factor) + shift) for factor in (pair, chi))
    return mean, rms


def table(result: xr.Dataset) -> pd.DataFrame:
    """Speeds and movement of every trained layer, first and last, and the untrained steps."""
    ends = {"first": 0, "last": -1}
    columns = {f"log10_speed_{name}": TO_DECADES * result["speed"].isel(epoch=i, drop=True).mean("seed")
               for name, i in ends.items()}  # fmt: skip
    step = TO_DECADES * result["mean_error"].diff("layer", label="lower")
    columns["moved"] = result["moved_at_end"].mean("seed")
    columns["untrained_step"] = step.mean(("seed", "start", "depth"))
    columns["untrained_step_predicted"] = result["mean_step_predicted"]
    return xr.Dataset(columns).to_dataframe().reset_index().dropna(how="all", subset=list(columns))


EXPERIMENT = Experiment(
    name="learning-speed",
    question="Do the layers near the input learn more slowly than those near the output?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "speed": Variable(("epoch", "layer"), "log of the norm of the mean error of a layer", "nats"),
        "weight_speed": Variable(("epoch", "layer"), "log of the norm of the weights' gradient", "nats"),
        "moved": Variable(("epoch", "layer"), "|W - W_0| / |W_0| of a layer"),
        "moved_at_end": Variable(("layer",), "the same after the last epoch"),
        "accuracy": Variable(("epoch",), "share of right answers on the training examples"),
        "mean_error": Variable(("start", "depth", "layer"), "log norm of the mean error, untrained", "nats"),
        "rms_error": Variable(("start", "depth", "layer"), "log rms error of one example, untrained", "nats"),
        "mean_output": Variable(("start", "depth"), "log norm of the output's mean error", "nats"),
        "rms_output": Variable(("start", "depth"), "log rms error of the output, one example", "nats"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
