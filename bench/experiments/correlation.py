r"""How far do length, correlation and gradient reach into a random network?

Inputs of several lengths, pairs of several cosines and one pair of real examples pass through the same square
network (weights of variance sigma_w^2 / N, biases of standard deviation sigma_b). Measured in every layer:
the length q = mean z^2, the cosine c of a pair's pre-activations, the mean over the root mean square of the
activities, and the back-propagated gradient |delta|.

Theory: one map for q and one for c give every layer (Poole et al., arXiv 1606.05340, figures 1 and 2, at
sigma_b = 0.3). Their fixed points are approached as exp(-l / xi_q) and exp(-l / xi_c), and |delta|^2 changes
as exp(-l / xi_grad) towards the input, 1 / xi_grad = -log chi_1 (Schoenholz et al., arXiv 1611.01232, at
sigma_b^2 = 0.05). xi_c = xi_grad in the ordered phase only. Both diverge on the critical line, where the laws
are powers of the depth: 1 - c goes as 9 pi^2 / (2 l^2) for relu and as 1 / l for tanh, and at sigma_b = 0 the
length of tanh goes as 1 / (2 l).

Compared are layers up to N / 16: further on, the scatter of finite networks adds up, that of c above all.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation, kinks_of
from signalprop.bench.drawings.correlation import HE, MAPS, XAVIER, figures, position
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure import data
from signalprop.bench.measure.rates import exp, measured_scales, near_input, run_width, standard_error
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models import stream
from signalprop.models.activations import ACTIVATIONS, Activation, activation
from signalprop.models.mlp import MLP

LENGTH_BIAS, CORRELATION_BIAS = 8.0, 6.0  # times 1/N: 2 % of q and 0.015 of c at width 400
SLOPE = (0.03, 0.05)  # agreed accuracy of a rate: absolute, relative
CURVE = 41  # points of a drawn line
LONGEST = 15.0  # largest length of the drawn map, as in Poole's figure 1
POOLE, SCHOENHOLZ = "Poole et al. (2016), arXiv 1606.05340", "Schoenholz et al. (2017), arXiv 1611.01232"


@dataclass(frozen=True)
class Settings:
    """Settings of ``correlation``."""

    activation: tuple[str, ...] = ("tanh",)
    """Activations, one compilation each; depth scales and maps are those of the first."""
    sigma_w: tuple[float, ...] = (1.0, 1.049, 1.118, 1.183, 1.225, 1.327, 1.5, 1.581, 1.732, 1.871, 2.0)
    """Weight scales at which depth scales are measured; 1.327 is critical for tanh at sigma_b^2 = 0.05."""
    sigma_b: tuple[float, ...] = (0.2236,)
    """Standard deviations of the biases there."""
    maps: tuple[tuple[float, float], ...] = (*MAPS, XAVIER, HE)
    """Pairs of sigma_w and sigma_b measured besides: those of the drawn maps, Xavier's and He's."""
    q_0: tuple[float, ...] = (0.02, 0.2, 1.0, 4.0)
    """Mean squares of the inputs whose length is followed."""
    c_0: tuple[float, ...] = (0.0, 0.5, 0.9)
    """Cosines of the Gaussian pairs."""
    data: str = "digits"
    """Data set whose first two examples are a pair too."""
    width: int = 256
    """Units N of every layer."""
    depth: int = 24
    """Layers L."""
    seeds: int = 16
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_scale("sigma_w", self.sigma_w)
        require_scale("sigma_b", self.sigma_b)
        require_scale("q_0", self.q_0)
        require_count("depth", [self.depth], 4)
        require_count("seeds", [self.seeds], 2)
        if not all(-1 < c < 1 for c in self.c_0):
            raise ValueError(f"c_0: got {self.c_0}; write cosines between -1 and 1")


DENSE = (0.8, 0.9, *np.sqrt([1.0, 1.1, 1.25, 1.4, 1.5, 1.6, 1.7]).round(4).tolist(), 1.327)
DENSE += tuple(np.sqrt([1.85, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0]).round(4).tolist())
PAPER = Settings(
    activation=("tanh", "relu", "sigmoid"), sigma_w=DENSE, c_0=(0.0, 0.25, 0.5, 0.75, 0.95),
    q_0=(0.02, 0.1, 0.3, 1.0, 2.0, 4.0), width=1000, depth=100, seeds=100,
)  # fmt: skip
SIZES = {"quick": Settings(), "standard": replace(PAPER, width=512, depth=48, seeds=50), "full": PAPER}


def scales(settings: Settings) -> dict[str, list[float]]:
    """All pairs of sigma_w and sigma_b that are measured."""
    pairs = dict.fromkeys([*product(settings.sigma_w, settings.sigma_b), *settings.maps])
    sigma_w, sigma_b = (list(values) for values in zip(*pairs, strict=True))
    return {"sigma_w": sigma_w, "sigma_b": sigma_b}


def grid(settings: Settings) -> Grid:
    """One compilation per activation; all scales share their draws."""
    return Grid(
        static={"activation": settings.activation},
        traced={"scales": scales(settings)},
        seeds=settings.seeds,
        constants={
            name: getattr(settings, name) for name in ("q_0", "c_0", "data", "width", "depth", "dtype")
        },
        coords={
            "q_0": settings.q_0,
            "pair": [*(f"{c:g}" for c in settings.c_0), settings.data],
            "layer": range(1, settings.depth + 1),
        },
    )


@cache
def real_pair(name: str, width: int) -> np.ndarray:
    """The first two training examples, moved to the network's width by one isometry for all networks."""
    with jax.ensure_compile_time_eval():
        x = data.unit_length(np.asarray(data.examples(name).x[:2], np.float64))
        return np.asarray(data.project(jax.random.key(0), x, width))


def cosines(settings: Settings) -> np.ndarray:
    """Cosine of every pair's inputs."""
    a, b = real_pair(settings.data, settings.width)
    return np.array([*settings.c_0, np.mean(a * b)])


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow all inputs forward through one network, and one gradient back."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    network_key, input_key, cotangent_key = jax.random.split(key, 3)
    # sigma_w multiplies the activities and not the weights: then all scales share one matrix product
    phi = activation(static["activation"]).times(point["sigma_w"])
    network = MLP((width,) * (depth + 1), phi, sigma_b=point["sigma_b"], key=network_key, dtype=dtype)
    base = len(static["q_0"])

    def observe(carry: None, layer: jax.Array, kernel: jax.Array, z: stream.Signal) -> Any:
        y = phi(z.mantissa[base])
        return carry, (z, jnp.mean(y) / jnp.sqrt(jnp.mean(y**2)))

    walk = stream.forward(network, point["sigma_w"] * inputs(input_key, static), observe, None)
    trace, centre = zip(*walk.outs, strict=True)
    first = [jax.tree.map(lambda leaf: leaf[:, base], z) for z in trace]
    cotangent = jax.random.normal(cotangent_key, (width,), dtype)
    back = stream.backward(
        network, first, cotangent, lambda carry, layer, kernel, d: (carry, d.log_norm()), None
    )
    log_delta = stream.join(back.outs)
    return {
        "log_q": stream.join([z.log_mean_square() for z in trace])[:, :base].T,
        "distance": distances(stream.join([stream.rescale(z).mantissa for z in trace]), base).T,
        "log_delta": log_delta - log_delta[-1],
        "centre": stream.join(list(centre)),
    }


def distances(z: jax.Array, base: int) -> jax.Array:
    """1 - c without cancellation: of the row ``base`` and each of its partners, and of the last two rows."""
    u = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    apart = jnp.concatenate([u[:, [base]] - u[:, base + 1 : -2], u[:, [-2]] - u[:, [-1]]], axis=1)
    return jnp.sum(apart**2, axis=-1) / 2


def inputs(key: jax.Array, static: Static) -> jax.Array:
    """Rows: one direction at every length q_0, the same at length 1, its partners, and the real pair."""
    width, dtype = static["width"], static["dtype"]
    a, b = data.inputs("gaussian", key, 2, width, dtype=dtype)
    across = data.unit_length(b - jnp.mean(a * b) * a)
    rows = [float(np.sqrt(q)) * a for q in (*static["q_0"], 1.0)]
    rows += [c * a + float(np.sqrt(1 - c**2)) * across for c in static["c_0"]]
    return jnp.concatenate([jnp.stack(rows), jnp.asarray(real_pair(static["data"], width), dtype)])


DIMS = {
    "log_q_predicted": ("q_0", "layer"),
    "c_predicted": ("pair", "layer"),
    "log_delta_predicted": ("layer",),
    "centre_predicted": ("layer",),
}


def theory(settings: Settings) -> xr.Dataset:
    """Trajectories of every input, drawn maps, fixed points and depth scales, in 64 bits."""
    with ThreadPoolExecutor(2) as pool:
        fixed = pool.submit(fixed_points, settings)
        maps = pool.submit(drawn_maps, settings)
        found = list(pool.map(partial(trajectories, settings=settings), settings.activation))
    labels = {k: v for k, v in grid(settings).labels().items() if k == v[0] != "seed"}
    pairs = {"pair_c_0": ("pair", cosines(settings))}
    whole = xr.concat(found, "activation").assign_coords({**labels, **pairs})
    return xr.merge([whole, fixed.result(), maps.result()])


def trajectories(name: str, settings: Settings) -> xr.Dataset:
    """Theory of every layer of one activation at all scales."""
    predict = partial(predicted, activation(name), settings, jnp.asarray(cosines(settings)))
    places = [jnp.asarray(values, jnp.float64) for values in scales(settings).values()]
    columns = jax.device_get(jax.jit(jax.vmap(predict))(*places))
    return xr.Dataset({key: (("scales", *DIMS[key]), value) for key, value in columns.items()})


def fixed_points(settings: Settings) -> xr.Dataset:
    """Fixed points and depth scales of the first activation at all scales, and scales on a line of sigma_w.

    A homogeneous activation has no isolated fixed point, and gets NaN.
    """
    phi = activation(settings.activation[0])
    line = np.linspace(min(settings.sigma_w), max(settings.sigma_w), CURVE)
    sigma_w, sigma_b = scales(settings).values()
    places = np.array([[*sigma_w, *line], [*sigma_b, *np.full(CURVE, settings.sigma_b[0])]])
    solve = jax.jit(lambda points: jax.lax.map(lambda p: meanfield.fixed_point(phi, *p), points))
    fixed = jax.device_get(solve(jnp.asarray(places.T)))._asdict()
    found: dict[str, Any] = {"sigma_w_line": line}
    for name in ("q_star", "c_star", "xi_q", "xi_c", "xi_grad"):
        values = np.full(places.shape[1], np.nan) if phi.homogeneous else fixed[name]
        found[name] = ("scales", values[: len(sigma_w)])
        found[f"{name}_line"] = ("sigma_w_line", values[len(sigma_w) :])
    return xr.Dataset(found)


def drawn_maps(settings: Settings) -> xr.Dataset:
    """Length map of the first activation at ``MAPS``, and its correlation map at the length it leads to."""
    phi = activation(settings.activation[0])
    q_axis, c_axis = jnp.linspace(0, LONGEST**0.5, CURVE) ** 2, jnp.linspace(0, 1, CURVE)

    def maps(sigma_w: jax.Array, sigma_b: jax.Array) -> tuple[jax.Array, jax.Array]:
        q = meanfield.length_trajectory(phi, sigma_w, sigma_b, 1.0, settings.depth)[-1]
        lengths = jax.vmap(lambda v: meanfield.length_map(phi, v, sigma_w, sigma_b))(q_axis)
        c_map = partial(meanfield.correlation_map, phi, q_a=q, q_b=q, sigma_w=sigma_w, sigma_b=sigma_b)
        return lengths, jax.vmap(c_map)(c_axis)

    q_map, c_map = jax.device_get(jax.jit(jax.vmap(maps))(*np.array(MAPS).T))
    return xr.Dataset(
        {"q_map": (("map", "q_axis"), q_map), "c_map": (("map", "c_axis"), c_map)},
        coords={"q_axis": np.asarray(q_axis), "c_axis": np.asarray(c_axis)},
    )


def predicted(
    phi: Activation, settings: Settings, c_0: jax.Array, sigma_w: jax.Array, sigma_b: jax.Array
) -> dict[str, jax.Array]:
    """Trajectories at one pair of scales."""
    place, depth = (phi, sigma_w, sigma_b), settings.depth
    q_0 = jnp.array([*settings.q_0, 1.0], c_0.dtype)
    q = jax.vmap(lambda v: meanfield.length_trajectory(*place, v, depth))(q_0)

    def centre(length: jax.Array) -> jax.Array:
        moments = expectation(lambda x: jnp.stack([phi(x), phi(x) ** 2], -1), length, kinks_of(phi))
        return moments[0] / jnp.sqrt(moments[1])

    return {
        "log_q_predicted": jnp.log(q[:-1]),
        "c_predicted": jax.vmap(lambda c: meanfield.correlation_trajectory(*place, 1.0, c, depth))(c_0),
        "log_delta_predicted": np.log(10) * meanfield.gradient_profile(*place, 1.0, depth),
        "centre_predicted": jax.vmap(centre)(q[-1]),
    }


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge both maps, the depth scales, and what is said about tanh, relu and Xavier."""
    near = near_input(result)
    ratio = exp(near["log_q"] - near["log_q_predicted"])
    one, cosine = xr.ones_like(near["log_q_predicted"]), 1 - near["distance"]
    lengths, cosines = (bias / run_width(result) for bias in (LENGTH_BIAS, CORRELATION_BIAS))
    xavier, he = (position(near, scale) for scale in (XAVIER, HE))
    found = [
        _compare(
            ratio, one, lengths, ["C1"],
            "Length of every layer over that of the length map, for all inputs, scales and activations",
        ),
        _compare(
            cosine, near["c_predicted"], cosines, ["C1"],
            "Cosine of a pair in every layer is that of the correlation map, for Gaussian and real pairs",
        ),
        _rates(near),
        _compare(
            near["centre"], near["centre_predicted"], lengths, ["B12"],
            "Mean over root mean square of the activities, in theory 1 / sqrt(pi) = 0.564 for relu and 0 for "
            f"tanh; measured: {', '.join(near['activation'].values)}",
        ),
    ]  # fmt: skip
    if he.size and "relu" in near["activation"]:
        relu = near.isel(scales=he).sel(activation=["relu"])
        text = "With it all relu activities turn into one direction: c goes to 1 even at the critical sigma_w"
        found.append(_compare(1 - relu["distance"], relu["c_predicted"], cosines, ["B12"], text))
    if xavier.size:
        found += [_xavier(near.isel(scales=xavier), lengths), _tanh_and_sigmoid(near.isel(scales=xavier))]
    return [v for v in found if v is not None]


def _compare(
    values: xr.DataArray,
    predicted: xr.DataArray,
    systematic: float | xr.DataArray,
    claims: Sequence[str],
    statement: str,
    **standing: Any,
) -> Verdict:
    """Judge the mean over networks at every place."""
    columns = (values.mean("seed"), predicted, standard_error(values), xr.DataArray(systematic))
    measured, expected, error, bias = (column.values.ravel() for column in xr.broadcast(*columns))
    return judge(
        claims, statement,
        f"{POOLE}; {SCHOENHOLZ}", measured=measured, predicted=expected, uncertainty=error,
        tolerance=bias + sampling_factor(measured.size, values.sizes["seed"]) * error,
        tolerance_from=f"{bias.max():.3g} for finite width, and five standard errors over networks",
        **standing,
    )  # fmt: skip


def _rates(near: xr.Dataset) -> Verdict | None:
    found = measured_scales(near)
    if found.empty:
        return None
    factor = sampling_factor(len(found), near.sizes["seed"])
    return judge(
        ["C1"],
        f"Rates per layer in {found['activation'][0]} networks at which length and cosine approach their "
        "fixed points and the gradient changes. Cosine and gradient share a rate if chi_1 < 1; if chi_1 > 1 "
        "gradients grow while cosines converge", SCHOENHOLZ, measured=found["rate"],
        predicted=found["predicted"], uncertainty=found["error"],
        tolerance=np.maximum(SLOPE[0], SLOPE[1] * found["predicted"].abs()) + factor * found["error"],
        tolerance_from="0.03 or 5 % of the rate, and five standard errors over networks",
    )  # fmt: skip


def _xavier(near: xr.Dataset, bias: float) -> Verdict:
    log_q = near["log_q"].sel(q_0=1.0, method="nearest").isel(scales=0).mean("seed")
    change = np.exp((log_q.isel(layer=-1) - log_q.isel(layer=0)).values)
    sizes = ", ".join(
        f"{v:.2g} for {name}" for name, v in zip(near["activation"].values, change, strict=True)
    )
    return _compare(
        exp(near["log_q"] - near["log_q_predicted"]),
        xr.ones_like(near["log_q_predicted"]),
        bias,
        ["C12"],
        "Length in every layer over theory's at sigma_w = 1, sigma_b = 0, Xavier's for square layers. "
        f"From layer 1 to layer {near.sizes['layer']} it changes by {sizes}",
        claim="right after repair",
        correction="Xavier keeps lengths where activations are linear. They fall as 1 / (2 l) with tanh, "
        "halve in every layer with relu, and settle at 0.26 with sigmoid, whose gradients vanish.",
    )


def _tanh_and_sigmoid(near: xr.Dataset) -> Verdict | None:
    if not {"tanh", "sigmoid"} <= set(near["activation"].values):
        return None
    pair = near.sel(activation=["tanh", "sigmoid"])
    steps = near.sizes["layer"] - 1
    change, expected = (
        2 * (pair[name].isel(layer=0) - pair[name].isel(layer=-1)) / steps
        for name in ("log_delta", "log_delta_predicted")
    )
    return _compare(
        change,
        expected,
        (SLOPE[1] * abs(expected)).clip(min=SLOPE[0]),
        ["A14"],
        f"Change of log |delta|^2 per layer over {steps} layers at sigma_w = 1, sigma_b = 0: tanh loses a "
        "power of the depth, sigmoid a factor 0.056 in every layer",
        claim="right after repair",
        correction="tanh has slope 1 at zero: at sigma_w = 1 its gradients fall as 1 / L only, at a larger "
        "sigma_w not at all. Sigmoid with its slope of a quarter loses them exponentially.",
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """Rates of length, cosine and gradient, measured and predicted, and asymptotic depth scales."""
    return measured_scales(near_input(result))


EXPERIMENT = Experiment(
    name="correlation",
    question="How far do length, correlation and gradient reach into a random network?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_q": Variable(("q_0", "layer"), "log of the mean squared pre-activation", "nats"),
        "distance": Variable(("pair", "layer"), "1 - c of a pair of inputs"),
        "log_delta": Variable(("layer",), "log of |delta^l| / |delta^L|", "nats"),
        "centre": Variable(("layer",), "mean over root mean square of the activities"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
