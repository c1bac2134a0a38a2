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

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis import meanfield
from signalprop.analysis.gaussian import expectation, kinks_of
from signalprop.bench import data
from signalprop.bench import figures as draw
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.experiments.phase_diagram import rescaled
from signalprop.bench.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.verdict import Verdict, judge, sampling_factor
from signalprop.models import stream
from signalprop.models.activations import ACTIVATIONS, Activation, activation
from signalprop.models.mlp import MLP

MAPS = ((1.3, 0.3), (2.5, 0.3), (4.0, 0.3))  # Poole's three: ordered, chaotic, strongly chaotic
XAVIER, HE = (1.0, 0.0), (2**0.5, 0.0)
LENGTH_BIAS, CORRELATION_BIAS = 8.0, 6.0  # times 1/N: 2 % of q and 0.015 of c at width 400
SLOPE = (0.03, 0.05)  # agreed accuracy of a rate: absolute, relative
LINEAR = 0.3  # largest deviation from a fixed point that counts as small
ROUNDING = 1e-11  # smallest 1 - c that float32 resolves
CURVE = 33  # points of a drawn map
POOLE, SCHOENHOLZ = "Poole et al. (2016), arXiv 1606.05340", "Schoenholz et al. (2017), arXiv 1611.01232"


@dataclass(frozen=True)
class Settings:
    """Settings of ``correlation``."""

    activation: tuple[str, ...] = ("tanh", "relu", "sigmoid")
    """Activations, one compilation each; depth scales and maps are those of the first."""
    sigma_w: tuple[float, ...] = (1.0, 1.118, 1.225, 1.327, 1.5, 1.732, 2.0)
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
    seeds: int = 24
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
SIZES = {
    "quick": Settings(),
    "standard": Settings(
        sigma_w=DENSE, c_0=(0.0, 0.25, 0.5, 0.75, 0.95), q_0=(0.02, 0.1, 0.3, 1.0, 2.0, 4.0), width=512,
        depth=48, seeds=50,
    ),
    "full": Settings(
        sigma_w=DENSE, c_0=(0.0, 0.25, 0.5, 0.75, 0.95), q_0=(0.02, 0.1, 0.3, 1.0, 2.0, 4.0), width=1000,
        depth=100, seeds=100,
    ),
}  # fmt: skip


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


def real_pair(name: str) -> np.ndarray:
    """The first two training examples, |x|^2 / N_0 = 1."""
    x = np.asarray(data.examples(name).x[:2], np.float64)
    scaled: np.ndarray = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    return scaled


def cosines(settings: Settings) -> np.ndarray:
    """Cosine of every pair's inputs."""
    a, b = real_pair(settings.data)
    return np.array([*settings.c_0, np.mean(a * b)])


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Follow all inputs forward through one network, and one gradient back."""
    width, depth, dtype = static["width"], static["depth"], static["dtype"]
    network_key, input_key, cotangent_key = jax.random.split(key, 3)
    # sigma_w multiplies the activities and not the weights: then all scales share one matrix product
    phi = rescaled(activation(static["activation"]), point["sigma_w"])
    network = MLP((width,) * (depth + 1), phi, sigma_b=point["sigma_b"], key=network_key, dtype=dtype)

    def observe(carry: None, layer: jax.Array, kernel: jax.Array, z: stream.Signal) -> Any:
        y = phi(z.mantissa[base])
        return carry, (z, jnp.mean(y) / jnp.sqrt(jnp.mean(y**2)))

    base = len(static["q_0"])
    walk = stream.forward(network, point["sigma_w"] * inputs(input_key, static), observe, None)
    trace, centre = zip(*walk.outs, strict=True)
    first = [jax.tree.map(lambda leaf: leaf[:, base], z) for z in trace]
    cotangent = jax.random.normal(cotangent_key, (width,), dtype)
    back = stream.backward(
        network, first, cotangent, lambda carry, layer, kernel, d: (carry, d.log_norm()), None
    )
    log_delta = stream.join(back.outs)
    z = stream.join([stream.rescale(z).mantissa for z in trace])
    u = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    others = jnp.concatenate([u[:, [base]] - u[:, base + 1 : -2], u[:, [-2]] - u[:, [-1]]], axis=1)
    return {
        "log_q": stream.join([z.log_mean_square() for z in trace])[:, :base].T,
        "distance": (jnp.sum(others**2, axis=-1) / 2).T,
        "log_delta": log_delta - log_delta[-1],
        "centre": stream.join(list(centre)),
    }


def inputs(key: jax.Array, static: Static) -> jax.Array:
    """Rows: one direction at every length q_0, the same at length 1, its partners, and the real pair."""
    width, dtype = static["width"], static["dtype"]
    a, b = data.inputs("gaussian", key, 2, width, dtype=dtype)
    across = data.unit_length(b - jnp.mean(a * b) * a)
    rows = [float(np.sqrt(q)) * a for q in (*static["q_0"], 1.0)]
    rows += [c * a + float(np.sqrt(1 - c**2)) * across for c in static["c_0"]]
    real = data.project(key, jnp.asarray(real_pair(static["data"]), dtype), width)
    return jnp.concatenate([jnp.stack(rows), real])


DIMS = {
    "log_q_predicted": ("q_0", "layer"),
    "c_predicted": ("pair", "layer"),
    "log_delta_predicted": ("layer",),
    "centre_predicted": ("layer",),
    "c_map": ("c_axis",),
}
FIXED = ("q_star", "c_star", "xi_q", "xi_c", "xi_grad")


def theory(settings: Settings) -> xr.Dataset:
    """Trajectories of every input, correlation maps, fixed points and depth scales, in 64 bits."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(partial(theory_of, settings=settings), settings.activation))
    labels = {k: v for k, v in grid(settings).labels().items() if k == v[0] != "seed"}
    extra = {"c_axis": np.linspace(0, 1, CURVE), "pair_c_0": ("pair", cosines(settings))}
    return xr.concat(found, "activation").assign_coords({**labels, **extra})


def theory_of(name: str, settings: Settings) -> xr.Dataset:
    """Theory of one activation at all scales; fixed points of the first one where it has isolated ones."""
    phi = activation(name)
    predict = partial(predicted, phi, settings, jnp.asarray(cosines(settings)))
    places = [jnp.asarray(values, jnp.float64) for values in scales(settings).values()]
    columns = dict(jax.device_get(jax.jit(jax.vmap(predict))(*places)))
    columns |= dict.fromkeys(FIXED, np.full(len(places[0]), np.nan))
    if name == settings.activation[0] and not phi.homogeneous:
        fixed = jax.device_get(jax.jit(jax.vmap(partial(meanfield.fixed_point, phi)))(*places))
        columns |= {key: getattr(fixed, key) for key in FIXED}
    return xr.Dataset({key: (("scales", *DIMS.get(key, ())), value) for key, value in columns.items()})


def predicted(
    phi: Activation, settings: Settings, c_0: jax.Array, sigma_w: jax.Array, sigma_b: jax.Array
) -> dict[str, jax.Array]:
    """Trajectories at one pair of scales, and the correlation map at the length of the last layer."""
    place = (phi, sigma_w, sigma_b)
    q_0, depth = jnp.array(settings.q_0, c_0.dtype), settings.depth
    q = meanfield.length_trajectory(*place, 1.0, depth)
    mean, square = (
        jax.vmap(lambda v, power=power: expectation(lambda x: phi(x) ** power, v, kinks_of(phi)))(q)
        for power in (1, 2)
    )
    c_map = partial(meanfield.correlation_map, phi, q_a=q[-1], q_b=q[-1], sigma_w=sigma_w, sigma_b=sigma_b)
    return {
        "log_q_predicted": jnp.log(jax.vmap(lambda v: meanfield.length_trajectory(*place, v, depth))(q_0)),
        "c_predicted": jax.vmap(lambda c: meanfield.correlation_trajectory(*place, 1.0, c, depth))(c_0),
        "log_delta_predicted": np.log(10) * meanfield.gradient_profile(*place, 1.0, depth),
        "centre_predicted": mean / jnp.sqrt(square),
        "c_map": jax.vmap(c_map)(jnp.linspace(0, 1, CURVE, dtype=c_0.dtype)),
    }


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge both maps, the depth scales, and what is said about tanh, relu and Xavier."""
    width = json.loads(result.attrs["settings"])["width"]
    near = _near(result)
    ratio = _exp(near["log_q"] - near["log_q_predicted"])
    one, cosine = xr.ones_like(near["log_q_predicted"]), 1 - near["distance"]
    lengths, cosines = LENGTH_BIAS / width, CORRELATION_BIAS / width
    xavier, he = (_at(near, scale) for scale in (XAVIER, HE))
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
            "Mean over root mean square of the activities: 1 / sqrt(pi) = 0.564 for relu, 0 for tanh",
        ),
        _relu(near.isel(scales=he).sel(activation=["relu"]), cosines)
        if he.size and "relu" in near["activation"]
        else None,
        _xavier(near.isel(scales=xavier), lengths) if xavier.size else None,
        _tanh_and_sigmoid(near.isel(scales=xavier)) if xavier.size else None,
    ]  # fmt: skip
    return [v for v in found if v is not None]


def _at(result: xr.Dataset, scale: tuple[float, float]) -> np.ndarray:
    """Position of a pair of sigma_w and sigma_b; empty if it was not measured."""
    near = np.isclose(result["sigma_w"], scale[0], atol=1e-6) & np.isclose(
        result["sigma_b"], scale[1], atol=1e-6
    )
    return np.flatnonzero(near)[:1]


def _error(values: xr.DataArray) -> xr.DataArray:
    """Standard error over networks."""
    error: xr.DataArray = values.std("seed", ddof=1) / values.sizes["seed"] ** 0.5
    return error


def _exp(values: xr.DataArray) -> xr.DataArray:
    """Exponential, typed: NumPy's own promises an array."""
    result: xr.DataArray = xr.apply_ufunc(np.exp, values)
    return result


def _compare(
    values: xr.DataArray,
    predicted: xr.DataArray,
    systematic: float | xr.DataArray,
    claims: Sequence[str],
    statement: str,
    **standing: Any,
) -> Verdict:
    """Judge the mean over networks at every place."""
    columns = (values.mean("seed"), predicted, _error(values), xr.DataArray(systematic))
    measured, expected, error, bias = (column.values.ravel() for column in xr.broadcast(*columns))
    return judge(
        claims,
        statement,
        f"{POOLE}; {SCHOENHOLZ}",
        measured=measured,
        predicted=expected,
        uncertainty=error,
        tolerance=bias + sampling_factor(measured.size, values.sizes["seed"]) * error,
        tolerance_from=f"{bias.max():.3g} for finite width, and five standard errors over networks",
        **standing,
    )


def _rates(near: xr.Dataset) -> Verdict | None:
    found = measured_scales(near)
    if found.empty:
        return None
    factor = sampling_factor(len(found), near.sizes["seed"])
    return judge(
        ["C1"],
        f"Rates per layer in {found['activation'][0]} networks at which length and cosine approach their "
        "fixed points and the gradient changes. Cosine and gradient share a rate if chi_1 < 1; if chi_1 > 1 "
        "gradients grow while cosines converge",
        SCHOENHOLZ,
        measured=found["rate"],
        predicted=found["predicted"],
        uncertainty=found["error"],
        tolerance=np.maximum(SLOPE[0], SLOPE[1] * found["predicted"].abs()) + factor * found["error"],
        tolerance_from="0.03 or 5 % of the rate, and five standard errors over networks",
    )


def _relu(near: xr.Dataset, bias: float) -> Verdict:
    text = "With it all relu activities turn into one direction: c goes to 1 even at the critical sigma_w"
    return _compare(1 - near["distance"], near["c_predicted"], bias, ["B12"], text)


def _xavier(near: xr.Dataset, bias: float) -> Verdict:
    log_q = near["log_q"].sel(q_0=1.0, method="nearest").isel(scales=0).mean("seed")
    change = np.exp((log_q.isel(layer=-1) - log_q.isel(layer=0)).values)
    sizes = ", ".join(
        f"{v:.2g} for {name}" for name, v in zip(near["activation"].values, change, strict=True)
    )
    return _compare(
        _exp(near["log_q"] - near["log_q_predicted"]),
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


def measured_scales(near: xr.Dataset) -> pd.DataFrame:
    """Rates of length, cosine and gradient of the first activation, measured and predicted, at all scales.

    Length: the difference of the longest and the shortest input in the same network, so that what the width
    adds to both cancels. Cosine: 1 - c of the closest pair where c* = 1, else its difference to the least
    similar pair. Theory's trajectories are fitted over the same layers; `theory` is the asymptotic scale.
    """
    rows = []
    close, apart = (int(pick(near["pair_c_0"].values)) for pick in (np.argmax, np.argmin))
    long, short = (int(pick(near["q_0"].values)) for pick in (np.argmax, np.argmin))
    for i in range(near.sizes["scales"]):
        at = near.isel(activation=0, scales=i)
        q_star, c_star = float(at["q_star"]), float(at["c_star"])
        if not (np.isfinite(c_star) and q_star > 1e-6):
            continue
        names = ("activation", "sigma_w", "sigma_b")
        place = {name: at[name].item() for name in names}
        q, expected_q = (_exp(at[name]) / q_star for name in ("log_q", "log_q_predicted"))
        one_minus_c = (at["distance"], 1 - at["c_predicted"])
        length = [v.isel(q_0=long) - v.isel(q_0=short) for v in (q, expected_q)]
        cosine = [v.isel(pair=close) - (v.isel(pair=apart) if c_star < 1 else 0) for v in one_minus_c]
        for kind, (values, predicted) in (("xi_q", length), ("xi_c", cosine)):
            if found := _fit(values, predicted):
                rows.append({**place, "kind": kind, **found, "theory": float(at[kind])})
        slopes, slope = (
            -2 * at[name].diff("layer").isel(layer=slice(3, None)).mean("layer")
            for name in ("log_delta", "log_delta_predicted")
        )
        gradient = {"rate": float(slopes.mean()), "error": float(_error(slopes)), "predicted": float(slope)}
        rows.append({**place, "kind": "xi_grad", **gradient, "theory": float(at["xi_grad"])})
    return pd.DataFrame(rows)


def _fit(values: xr.DataArray, predicted: xr.DataArray) -> dict[str, float] | None:
    """Slopes of the log of a deviation over the first run of layers where it is small but clear; or None."""
    mean, error, expected = values.mean("seed").values, _error(values).values, predicted.values
    clear = (np.abs(mean) > 5 * error) & (np.abs(mean) > ROUNDING)
    good = clear & (np.abs(expected) < LINEAR) & (mean * expected > 0)
    first = int(np.argmax(good))
    stop = first + int(np.argmin(np.append(good[first:], False)))
    if stop - first < 3:
        return None
    layer = values["layer"].values[first:stop]
    ends = [first, stop - 1]
    return {
        "rate": rate(mean[first:stop], layer),
        "error": float(np.hypot(*(error[ends] / mean[ends]))) / float(layer[-1] - layer[0]),
        "predicted": rate(expected[first:stop], layer),
    }


def rate(deviation: np.ndarray, layer: np.ndarray) -> float:
    """Slope of log |deviation| over the layers, by least squares."""
    return float(np.polyfit(layer, np.log(np.abs(deviation)), 1)[0])


def make_figures(result: xr.Dataset) -> dict[str, Figure]:
    """Poole's maps and trajectories, and Schoenholz's depth scales with the laws at criticality."""
    drawn = [(scale, at[0]) for scale in MAPS if (at := _at(result, scale)).size]
    maps = {"maps": _maps(result.isel(activation=0), drawn)} if drawn else {}
    return {**maps, "depth-scales": _depth_scales(result)}


def _near(result: xr.Dataset) -> xr.Dataset:
    """Layers in which theory for infinite width holds."""
    width = json.loads(result.attrs["settings"])["width"]
    return result.sel(layer=slice(1, max(2, width // 16)))


def _maps(at: xr.Dataset, drawn: list[tuple[tuple[float, float], int]]) -> Figure:
    figure, ((length_map, lengths), (c_map, cosines)) = draw.canvas(2, 2, height=2.9)
    looks = draw.series([rf"$\sigma_w$ = {scale[0]:g}" for scale, _ in drawn])
    layer = at["layer"].values
    for (label, look), (_, i) in zip(looks.items(), drawn, strict=True):
        here = at.isel(scales=i)
        line = _exp(here["log_q_predicted"])
        order = np.argsort(line.values[:, :-1].ravel())
        draw.theory(length_map, line.values[:, :-1].ravel()[order], line.values[:, 1:].ravel()[order], look)
        q = _exp(here["log_q"])
        mean, error = q.mean("seed").values, _error(q).values
        draw.measured(length_map, mean[:, :-1].ravel(), mean[:, 1:].ravel(), None, look, label=label)
        shown = slice(None, 12)
        for j in range(len(mean)):
            draw.theory(lengths, layer[shown], line.values[j, shown], look, linewidth=0.9)
            draw.measured(lengths, layer[shown], mean[j, shown], error[j, shown], look)
        draw.theory(c_map, here["c_axis"], here["c_map"], look)
        c = 1 - here["distance"]
        mean, error = c.mean("seed").values, _error(c).values
        draw.measured(c_map, mean[:, 4:-1].ravel(), mean[:, 5:].ravel(), None, look, markersize=3)
        for j in range(len(mean)):
            draw.theory(cosines, layer, here["c_predicted"].values[j], look, linewidth=0.9)
            draw.measured(cosines, layer, mean[j], error[j], look, markersize=3)
    for axes, low in ((length_map, 0.03), (c_map, 0.0)):
        axes.axline((low, low), slope=1, color="0.6", linewidth=0.8, zorder=1)
    length_map.set(xscale="log", yscale="log", xlabel="$q^{l-1}$", ylabel="$q^l$", title="length map")
    lengths.set(yscale="log", xlabel="layer $l$", ylabel="$q^l$", title="length of inputs of several sizes")
    c_map.set(
        xlabel="$c^{l-1}$", ylabel="$c^l$", title="correlation map at the last length", xlim=(-0.02, 1.02)
    )
    cosines.set(xlabel="layer $l$", ylabel="$c^l$", title="cosine of Gaussian and real pairs")
    length_map.legend(loc="lower right")
    figure.suptitle(
        rf"{at['activation'].item()}, $\sigma_b$ = 0.3: theory (lines) and networks (points)", fontsize=9
    )
    return figure


def _depth_scales(result: xr.Dataset) -> Figure:
    figure, ((left, right),) = draw.canvas(1, 2, height=3.2)
    kinds = {
        "xi_q": r"length, $\xi_q$",
        "xi_c": r"cosine, $\xi_c$",
        "xi_grad": r"gradient, $|\xi_\mathrm{grad}|$",
    }
    own = measured_scales(_near(result))
    if len(own):
        sigma_b = own["sigma_b"].mode()[0]
        own = own[own["sigma_b"] == sigma_b].sort_values("sigma_w")
        line = result.isel(activation=0, scales=np.flatnonzero(result["sigma_b"] == sigma_b)).sortby(
            "sigma_w"
        )
        for (kind, label), look in zip(kinds.items(), draw.series(list(kinds)).values(), strict=True):
            rows = own[own["kind"] == kind]
            length = 1 / rows["rate"].abs()
            draw.theory(left, line["sigma_w"] ** 2, abs(line[kind]), look, label=f"{label}, theory")
            clear = rows["rate"].abs() > 3 * rows["error"]
            same = {"marker": "x", "color": look["color"], "linestyle": "none", "zorder": 2}
            left.plot(rows["sigma_w"][clear] ** 2, 1 / rows["predicted"][clear].abs(), **same)
            draw.measured(
                left, rows["sigma_w"][clear] ** 2, length[clear], (length**2 * rows["error"])[clear], look
            )
        left.set(yscale="log", ylim=(0.5, 200), xlabel=r"$\sigma_w^2$", ylabel="layers")
        place = rf"{own['activation'].iloc[0]}, $\sigma_b^2$ = {sigma_b**2:.2g}"
        left.set_title(rf"{place} ($\times$: theory over the layers measured)")
        left.legend(loc="upper right")
    _laws(right, result)
    return figure


def _laws(axes: Axes, result: xr.Dataset) -> None:
    """Powers of the depth on the critical line, on logarithmic axes."""
    layer = result["layer"].values
    he, xavier = _at(result, HE), _at(result, XAVIER)
    looks = iter(draw.series(["relu", "tanh", "tanh q"]).values())
    names = set(result["activation"].values)
    for name, at, sign in (("relu", he, "distance"), ("tanh", xavier, "log_q")):
        if name not in names or not at.size:
            continue
        here, look = result.sel(activation=name).isel(scales=at[0]), next(looks)
        if sign == "distance":
            values, predicted = here["distance"].isel(pair=0), 1 - here["c_predicted"][0]
            law, label = 9 * np.pi**2 / (2 * layer**2.0), r"relu, $\sigma_w^2 = 2$: $1 - c$"
            text = r"$9 \pi^2 / 2 l^2$"
        else:
            values, predicted = _exp(here["log_q"].isel(q_0=-1)), _exp(here["log_q_predicted"][-1])
            law, label, text = 1 / (2.0 * layer), r"tanh, $\sigma_w = 1$: $q$", r"$1 / 2 l$"
        draw.theory(axes, layer, predicted, look)
        draw.measured(axes, layer, values.mean("seed"), _error(values), look, label=label)
        far = layer > layer[-1] / 3
        axes.plot(layer[far], law[far], color=look["color"], linestyle=":", label=text)
    axes.set(
        xscale="log", yscale="log", xlabel="layer $l$", title="on the critical line: powers of the depth"
    )
    axes.legend(loc="lower left")


def table(result: xr.Dataset) -> pd.DataFrame:
    """Rates of length, cosine and gradient, measured and predicted, and asymptotic depth scales."""
    return measured_scales(_near(result))


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
    figures=make_figures,
    table=table,
)
