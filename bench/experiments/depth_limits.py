r"""How deep can a plain network be before its signal or its gradient is lost?

Networks without skip connections or normalization, up to 10,000 layers: fully connected, and convolutional on
a ring of places. Weights are Haar orthogonal (delta-orthogonal kernels) or Gaussian of the same variance, and
are drawn inside the scan, forward and again on the way back: one layer is held at a time.

Measured: the rms of the signal y^l and the norm of the gradient dE/dy^l, seen from the output, in decades.

Theory. tanh is critical, chi_1 = 1, on a line of points (sigma_w, sigma_b). On it, at the fixed point q*,
infinitely wide layers keep |dE/dy|. A network of L layers takes q* = 1/L, as Xiao et al. (arXiv 1806.05393)
did for 10,000 convolutional layers: then the 1/N terms of orthogonal weights, about q*^2 / N per layer in
variance and q* / N in mean, add up to O(1/N) over all layers. Gaussian weights lose 1/N nats of log |g|^2 in
every layer and spread by sqrt(2 l / N) (chi-squared law of deep linear networks), so depth is limited to a
few times N whatever the scales. Their signal falls until the biases hold it, where it solves Kesten's
recursion q' = a q + sigma_b^2: N sigma_b^2 over a Gamma variable (Dufresne 1990). On a ring each Fourier mode
has a matrix product of its own (`analysis.convolution`), and the luckiest wins. An input of unit size, or
sigma_w = 1 without biases, makes q^l fall as 1 / 2l, and |g|^2 by a factor of order L although chi_1 tends to
1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.tree_util import Partial
from scipy.special import psi

from signalprop.analysis import fluctuations, meanfield
from signalprop.analysis.convolution import ring_log_gain
from signalprop.analysis.finitewidth import linear_log_gain
from signalprop.bench.drawings.depth_limits import figures
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.record.verdict import Verdict, judge, observe, sampling_factor
from signalprop.models.chain import Block, chain_profile
from signalprop.models.convolutional import draw_convolution
from signalprop.models.mlp import draw_layer

NETWORKS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[str, str]]] = {
    "mlp": (draw_layer, (), ("orthogonal", "gaussian")),
    "conv": (draw_convolution, ((3,),), ("delta_orthogonal", "gaussian")),
}  # how a layer is drawn, its window, and its schemes
WEIGHTS = ("orthogonal", "gaussian")
STARTS = ("critical", "unit input", "no bias", "ordered", "chaotic")
DECADES = 1 / np.log(10)
XIAO = "Xiao et al. (arXiv 1806.05393); mean field with 1/N terms"
RING = "one matrix product per Fourier mode of the ring, derived in analysis.convolution"
ROUNDING = 1e-3  # decades that float32 may lose in 10,000 layers


@dataclass(frozen=True)
class Settings:
    """Settings of ``depth-limits``."""

    network: tuple[str, ...] = tuple(NETWORKS)
    """Fully connected (mlp), convolutional on a ring (conv)."""
    width: int = 24
    """Units, or channels, of every layer."""
    places: int = 6
    """Places on the ring of the convolutional networks; kernels cover 3."""
    depth: int = 600
    """Layers L; the critical point is that of q* = 1/L."""
    seeds: int = 12
    """Networks."""
    seed: int = 0
    """Root of all random numbers."""
    memory: bool = False
    """Whether to ask the compiler for the memory of a network, which compiles each program once more."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, NETWORKS)
        require_count("width", [self.width], 2)
        require_count("places", [self.places], 3)
        require_count("depth", [self.depth], 10)


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=64, depth=10_000, seeds=12, memory=True),
    "full": Settings(width=256, depth=10_000, places=12, seeds=48, memory=True),
}


def starts(depth: int) -> dict[str, list[float]]:
    """Scales and mean square of the input, one column per entry of STARTS.

    At, and entering at, the critical point of q* = 1/L; the same with an input of unit size; sigma_w = 1
    without biases; 1% below critical, with biases that keep q*; 5% above, without biases.
    """
    q = 1 / depth
    point = meanfield.critical_line(jnp.tanh, q)
    sigma_w, sigma_b = float(point.sigma_w), float(point.sigma_b)
    output = (q - sigma_b**2) / sigma_w**2
    below = 0.99 * sigma_w
    return {
        "sigma_w": [sigma_w, sigma_w, 1.0, below, 1.05 * sigma_w],
        "sigma_b": [sigma_b, sigma_b, 0.0, float(np.sqrt(q - below**2 * output)), 0.0],
        "q_0": [output, 1.0, 1.0, output, 1.0],
    }


def recorded(depth: int) -> tuple[int, ...]:
    """Layers, about six per decade of the distance from the input, and from the output."""
    steps = np.round(np.geomspace(1, depth, round(6 * np.log10(depth)) + 1)).astype(int)
    return tuple(int(layer) for layer in np.unique([*steps, *(depth - steps), 0, depth]))


def grid(settings: Settings) -> Grid:
    """One compilation per network; all starts share their draws."""
    return Grid(
        static={"network": settings.network},
        traced={"weights": {"gaussian": [0.0, 1.0]}, "start": starts(settings.depth)},
        seeds=settings.seeds,
        constants={
            "width": settings.width,
            "places": settings.places,
            "depth": settings.depth,
            "dtype": settings.dtype,
        },
        coords={"weights": WEIGHTS, "start": STARTS, "layer": recorded(settings.depth)},
    )


def tanh_layer(layer: Block, sigma_w: jax.Array, y: jax.Array) -> jax.Array:
    """One block of the chain, with the scale outside the layer so that all starts share one kernel."""
    return jnp.tanh(sigma_w * layer(y))


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Send one signal up and one gradient down a network that is drawn as it is walked."""
    width, depth, dtype = static["width"], static["depth"], jnp.dtype(static["dtype"])
    input_key, gradient_key, layer_key = jax.random.split(key, 3)
    scales = {"sigma_b": point["sigma_b"] / point["sigma_w"], "dtype": dtype}
    make, window, schemes = NETWORKS[static["network"]]

    def draw(number: jax.Array) -> Block:
        sizes = *window, width, width
        drawn = [make(layer_key, number, *sizes, scheme, **scales) for scheme in schemes]
        layer = jax.tree.map(partial(jnp.where, point["gaussian"] == 0), *drawn)
        return Partial(tanh_layer, layer, point["sigma_w"])

    shape = (width,) if static["network"] == "mlp" else (static["places"], width)
    x = jax.random.normal(input_key, shape, dtype)
    x = x * jnp.sqrt(point["q_0"] / jnp.mean(x * x, -1, keepdims=True))
    gradient = jax.random.normal(gradient_key, shape, dtype)
    found = chain_profile(draw, depth, x, lambda y: gradient)
    layers = jnp.array(recorded(depth))
    return {
        "signal": found.log_mean_square[layers] / 2 * DECADES,
        "gradient": (found.log_gradient[layers] - found.log_gradient[depth]) * DECADES,
        "lost_at": found.lost_at,
    }


def theory(settings: Settings) -> xr.Dataset:
    """Mean field of all starts, 1/N terms of orthogonal weights, laws of Gaussian ones, and memory."""
    depth, width, places = settings.depth, settings.width, settings.places
    layers = np.array(recorded(depth))
    scales = {name: jnp.array(values) for name, values in starts(depth).items()}

    @jax.jit
    @jax.vmap
    def mean_field(sigma_w: jax.Array, sigma_b: jax.Array, q_0: jax.Array) -> Any:
        q = meanfield.length_trajectory(jnp.tanh, sigma_w, sigma_b, q_0, depth + 1)
        log_chi = jnp.log(jax.vmap(lambda q: meanfield.chi_1(jnp.tanh, q, sigma_w))(q[:-1]))
        squares = jnp.append(q_0, (q[1:] - sigma_b**2) / sigma_w**2)
        down = jnp.append(jnp.cumsum(log_chi[::-1])[::-1], 0)
        return squares, down, fluctuations.layer_moments(jnp.tanh, sigma_w, q_0, depth)

    squares, down, moments = jax.device_get(mean_field(**scales))
    gaussian = [_gaussian_walk(name, width, places, layers, depth) for name in settings.network]
    each_start, each_network = ("start", "layer"), ("network", "layer")
    columns = {
        "signal_predicted": (each_start, np.log(squares[:, layers]) / 2 * DECADES),
        "gradient_predicted": (each_start, down[:, layers] / 2 * DECADES),
        "gaussian_predicted": (each_network, [mean for mean, _ in gaussian]),
        "gaussian_spread": (each_network, [spread for _, spread in gaussian]),
        "gaussian_floor": ((), _floor(width, depth, float(scales["sigma_b"][0]))),
        "memory": (("network",), _memory(settings)),
    }
    by_start = [fluctuations.LayerMoments(*(a[i] for a in moments)) for i in range(len(STARTS))]
    independent = [1 if name == "mlp" else places for name in settings.network]
    terms = np.array([[_next_order(m, width, copies) for m in by_start] for copies in independent])
    for i, name in enumerate(("signal_shift", "gradient_shift", "gradient_indirect")):
        columns[name] = (("network", "start"), terms[..., i])
    labels = grid(settings).labels()
    return xr.Dataset(columns, coords={k: labels[k] for k in ("network", "start", "layer")})


def _next_order(moments: fluctuations.LayerMoments, width: int, copies: int) -> list[float]:
    """1/N terms after all layers, in decades: of the signal, of the gradient, and their indirect part.

    Delta-orthogonal kernels send every place through the same fully connected network. The log of a mean over
    that many independent copies lies above the mean of the logs.
    """
    found = fluctuations.fluctuations(moments, width, orthogonal=True)
    of_mean = (1 - 1 / copies) * found.variance[-1] / 2
    signal = 2 * (found.log_std[-1] - moments.log_std[-1])
    return [x / 2 * DECADES for x in (signal, found.shift[-1] + of_mean, found.indirect[-1])]


def _gaussian_walk(
    network: str, width: int, places: int, layers: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation over networks of log10 |dE/dy^l| / |dE/dy^L|.

    The slopes of tanh add to log |g|^2 between 0 per layer, while the signal is at q*, and log(1 + 2/L), when
    it is lost; half of that is taken.
    """
    above = depth - layers
    if network == "mlp":
        per_layer = linear_log_gain((width, width))
        mean, variance = above * per_layer.mean, above * per_layer.variance
    else:
        mean, variance = ring_log_gain(width, places, above)
    return (mean + above / depth) / 2 * DECADES, np.sqrt(variance) / 2 * DECADES


def _floor(width: int, depth: int, sigma_b: float) -> float:
    """Log10 of the rms at which biases hold a Gaussian network's signal; NaN where it does not get there.

    The stationary law of log q' = log(a q + sigma_b^2), log a of mean 2/L - 1/N and variance 2/N: q is N
    sigma_b^2 over a Gamma variable of shape 1 - 2 N/L (Dufresne 1990). The way down takes N log(q* / q)
    layers.
    """
    shape = 1 - 2 * width / depth
    log_q = 2 * np.log(sigma_b) + np.log(width) - psi(shape)
    arrives = shape > 0.5 and depth > 2 * width * (-np.log(depth) - log_q)
    return float(log_q / 2 * DECADES) if arrives else np.nan


def _memory(settings: Settings) -> list[float]:
    """GiB that the compiled program of one network, with all weights and starts, takes beside its inputs."""
    if not settings.memory:
        return [np.nan] * len(settings.network)
    keys, point = jax.random.key(0), {k: jnp.array(v) for k, v in starts(settings.depth).items()}
    found = []
    for _, static in grid(settings).cases():
        by_start = jax.vmap(
            lambda p, g, static=static: measure(keys, {**p, "gaussian": g}, static), (0, None)
        )
        program = jax.jit(jax.vmap(by_start, (None, 0)))
        one = jax.tree.map(lambda v: v.astype(settings.dtype), (point, jnp.arange(2)))
        analysis = program.lower(*one).compile().memory_analysis()
        found.append(np.nan if analysis is None else analysis.temp_size_in_bytes / 2**30)
    return found


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Orthogonal weights from every start, the walks of Gaussian ones, and memory."""
    found = [
        _orthogonal(result, ["critical"], "signal", ["C14"], **ORDER_ONE),
        _orthogonal(result, ["critical"], "gradient", ["C14"], **ORDER_ONE),
        _orthogonal(result, ["unit input", "no bias"], "gradient", ["C14"], **SLOW),
        _orthogonal(result, ["ordered", "chaotic"], "gradient", ["C14", "C1"], **OFF),
        _orthogonal(result, list(STARTS), "signal", ["C14"], **ALL_SIGNALS),
    ]
    for network in result["network"].values:
        found += _gaussian(result.sel(network=network).isel(weights=WEIGHTS.index("gaussian"), start=0))
    return found + _memories(result)


ORDER_ONE: dict[str, Any] = {
    "statement": "Orthogonal tanh networks on the critical line at q* = 1/L, input at q*, keep the {name} "
    "through {depth} plain layers: log10 of {ratio}",
    "correction": "Orthogonal weights do at the critical scale and near q* = 0 only; Gaussian ones at the "
    "same point do for about as many layers as they have units.",
}
SLOW: dict[str, Any] = {
    "statement": "Orthogonal weights, an input of unit size, the critical line at q* = 1/L or sigma_w = 1 "
    "without biases: chi_1 tends to 1, and |g| falls as 1/sqrt(L): log10 of {ratio}, L = {depth}",
    "correction": "sigma_w = 1 is critical for tanh only where the signal has vanished; the way there costs "
    "a power of the depth.",
}
OFF: dict[str, Any] = {
    "statement": "Orthogonal weights 1% below the critical scale, or 5% above: log10 of {ratio}, L = {depth}",
    "correction": "Orthogonal weights of another scale vanish or explode exponentially, as chi_1^(L/2).",
}
ALL_SIGNALS: dict[str, Any] = {
    "statement": "Orthogonal weights, every start: log10 of the rms of y^{depth}",
    "correction": "The length of the signal is that of mean field; orthogonal weights only hold it there.",
}
END = {"signal": -1, "gradient": 0}  # place of the recorded layer where each has passed all layers
RATIO = {"signal": "rms(y^L), where that of y^0 is 1/sqrt(L)", "gradient": "|dE/dy^0| / |dE/dy^L|"}


def _orthogonal(
    result: xr.Dataset, start: list[str], name: str, claims: list[str], *, statement: str, correction: str
) -> Verdict:
    """After all layers, networks and starts together, against mean field with its 1/N terms."""
    at = result.isel(layer=END[name], weights=0, start=[STARTS.index(s) for s in start])
    shift = at[f"{name}_shift"].values
    values = at[name].transpose("network", "start", "seed")
    count = values.sizes["seed"]
    error = values.std("seed", ddof=1).values / np.sqrt(count)
    loose = np.abs(at["gradient_indirect"].values if name == "gradient" else shift) / 2
    depth = int(result["layer"][-1])
    return judge(
        claims, statement.format(name=name, depth=depth, ratio=RATIO[name]), XIAO,
        measured=values.mean("seed"), uncertainty=error, predicted=at[f"{name}_predicted"].values + shift,
        tolerance=loose + 0.05 * np.abs(shift) + ROUNDING + sampling_factor(shift.size, count) * error,
        tolerance_from="half of the indirect 1/N terms, 5% of all of them, float32, five standard errors",
        claim="right after repair", correction=correction,
    )  # fmt: skip


def _gaussian(at: xr.Dataset) -> list[Verdict]:
    """Mean and spread of the gradient's walk, and the floor of the signal, of one network."""
    network, depth, count = str(at["network"].values), int(at["layer"][-1]), at.sizes["seed"]
    end, ratio = at.isel(layer=0), f"log10 |dE/dy^0| / |dE/dy^L|, L = {depth}"
    spread = float(end["gaussian_spread"])
    of_mean, of_spread = spread / np.sqrt(count), spread / np.sqrt(2 * (count - 1))
    law = "log chi-squared walk of a deep linear network" if network == "mlp" else RING
    found = [
        judge(
            ["C14", "C1"], f"Gaussian weights at the same critical point, {network}: mean of {ratio}", law,
            measured=end["gradient"].mean(), predicted=float(end["gaussian_predicted"]), uncertainty=of_mean,
            tolerance=DECADES / 2 + sampling_factor() * of_mean,
            tolerance_from="one nat of log |g|^2 for the slopes of tanh, five predicted standard errors",
            claim="right after repair", correction="Being critical on average is not enough: each Gaussian "
            "layer takes 1/N (on a ring 1/2N) off log |g|^2, and depth is limited to a few times the width.",
        ),
        judge(
            ["C1"], f"The same networks, {network}: standard deviation over networks of {ratio}", law,
            measured=end["gradient"].std(ddof=1), predicted=spread, uncertainty=of_spread,
            tolerance=sampling_factor() * of_spread, tolerance_from="five predicted standard errors",
        ),
    ]  # fmt: skip
    if network == "mlp" and np.isfinite(end["gaussian_floor"]):
        signal = at["signal"].isel(layer=-1)
        error_of_mean = float(signal.std(ddof=1)) / np.sqrt(count)
        found.append(judge(
            ["C14"], "The signal of the same Gaussian networks falls until the biases hold it: log10 of its "
            f"rms after {depth} layers", "Kesten's recursion; Dufresne (1990)",
            measured=float(signal.mean()), predicted=float(end["gaussian_floor"]),
            uncertainty=error_of_mean, tolerance=0.02 + sampling_factor(1, count) * error_of_mean,
            tolerance_from="0.02 for the terms of next order in 1/N, five standard errors over networks",
        ))  # fmt: skip
    return found


def _memories(result: xr.Dataset) -> list[Verdict]:
    """The largest program, where the compiler was asked."""
    if result["memory"].isnull().any():
        return []
    starts_and_weights = len(STARTS) * len(WEIGHTS)
    return [observe(
        ["C14"], f"GiB that {starts_and_weights} networks of {int(result['layer'][-1])} layers take "
        "together, signal and gradient, when layers are drawn in the scan (8 GiB are allowed)",
        "memory analysis of the compiled program", measured=float(result["memory"].max()),
    )]  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """Signal and gradient by network, weights, start and depth, in decades; empty where a signal was lost."""
    columns = {}
    for name in ("signal", "gradient"):
        columns[name] = result[name].mean("seed", skipna=False)
        columns[f"{name}_deviation"] = result[name].std("seed", ddof=1, skipna=False)
        columns[f"{name}_mean_field"] = result[f"{name}_predicted"]
    columns["gradient_gaussian_walk"] = result["gaussian_predicted"]
    kept = ["network", "weights", "start", "layer", *columns]
    return xr.Dataset(columns).to_dataframe().reset_index()[kept]


EXPERIMENT = Experiment(
    name="depth-limits",
    question="How deep can a plain network be before its signal or its gradient is lost?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "signal": Variable(("layer",), "log10 of the rms of y^l", "decades"),
        "gradient": Variable(("layer",), "log10 of |dE/dy^l| / |dE/dy^L|", "decades"),
        "lost_at": Variable((), "first layer whose output left the dtype's range, 0 if none"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
