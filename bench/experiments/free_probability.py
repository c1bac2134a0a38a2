r"""Does free probability foretell the whole Jacobian spectrum, and can depth leave it alone?

Network: fully connected, square, at initialization, with Gaussian or orthogonal weights; its Jacobian is
J = D_L W_L ... D_1 W_1, D_l = diag phi'(z^l). Scales are critical, sigma_w^2 E phi'(sqrt(q) z)^2 = 1, with
the bias and the input's length that keep every layer at the same q. Besides networks of one q for all depths
there are isometric ones: for each depth L, q gives sigma_0^2 = L (mu_2 / mu_1^2 - 1), mu_k = E phi'^(2k), the
same value.

Measured: the singular values at several depths from one pass; those below 1e-13 of the largest are counted
but not resolved. Each spectrum is divided by its own mean square, whose log wanders by O(sqrt(L/N)).

Theory (N to infinity), nothing fitted:

* density of s^2, its upper edge and its atoms from free products of the layers: Pennington, Schoenholz &
  Ganguli (arXiv 1711.04735). Linear Gaussian networks: Fuss-Catalan, edge (L+1)^(L+1) / L^L.
* the edge grows like L for all Gaussian networks, and for relu under both initializations. With orthogonal
  weights and fixed sigma_0^2 it tends to a limit, as L^(-1/2) for smooth activations (arXiv 1802.09979).
* the largest value at width N: edge, less 1.2065 scales N^(-2/3), by the law of Tracy and Widom.
* half of a relu network's singular values are 0 at every depth; at width N, the largest of L binomials.
"""

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from signalprop.analysis import finitewidth, freeprob
from signalprop.bench import isometry
from signalprop.bench.drawings.free_probability import (
    SPREAD,
    TRACY_WIDOM,
    distances,
    figures,
    largest,
    largest_scale,
    log_squares,
    predicted_largest,
    relative_variance,
)
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_known, require_scale
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.measure.spectra import prefix_spectra
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor
from signalprop.models.activations import ACTIVATIONS, chosen

WEIGHTS = ("gaussian", "orthogonal")
DIMS = ("weights", "network", "depth", "index")
FINE = 2.0 ** np.arange(15)  # depths of the theory's curves
PENNINGTON = "Pennington, Schoenholz & Ganguli (arXiv 1711.04735)"
REPAIRED = "right after repair"
REPAIR = (
    "Orthogonal weights bound the largest singular value only with slopes that tend to 1 at 0, the critical "
    "sigma_w, and q falling as L^(-1/2); relu, and any fixed q, spread like the root of the depth."
)
UNIVERSAL = "Pennington, Schoenholz & Ganguli (arXiv 1802.09979)"


@dataclass(frozen=True)
class Settings:
    """Settings of ``free-probability``."""

    activation: tuple[str, ...] = ("linear", "relu", "hard_tanh", "tanh", "erf", "gelu")
    """Activation functions, each at one length q for all depths."""
    isometric: tuple[str, ...] = ("tanh", "erf")
    """Activation functions whose q shrinks with depth so that sigma_0^2 stays."""
    spread: float = 0.25
    """sigma_0^2 = L (mu_2 / mu_1^2 - 1) of the isometric networks."""
    width: int = 512
    """Units of the input and of every layer."""
    depth: tuple[int, ...] = (1, 4, 16, 64)
    """Depths at which all singular values are found, increasing."""
    points: int = 300
    """Points of a predicted density."""
    seeds: int = 4
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights, signals and products."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        if self.isometric:
            require_known("isometric", self.isometric, ACTIVATIONS)
        require_scale("spread", [self.spread])
        require_count("width", [self.width], 2)
        require_count("depth", self.depth)
        require_count("points", [self.points], 20)
        if list(self.depth) != sorted(set(self.depth)):
            raise InputError(f"depth: got {self.depth}; write increasing numbers")
        if self.spread == 0:
            raise InputError("spread: got 0; write a number above 0")


SIZES = {
    "quick": Settings(
        ("linear", "relu", "hard_tanh", "tanh"), ("tanh",), width=128, depth=(1, 4, 16), points=150, seeds=8
    ),
    "standard": Settings(),
    "full": Settings(width=1024, depth=(1, 4, 16, 64, 128), seeds=12),
}


def networks(settings: Settings) -> dict[str, tuple[str, float]]:
    """Activation and length of each network, by its label."""
    found = {name: (name, isometry.length(name)) for name in settings.activation}
    if settings.isometric:
        lengths = isometry.lengths(settings.isometric, settings.spread, settings.depth)
        for name, row in zip(settings.isometric, lengths, strict=True):
            usable = [(d, q) for d, q in zip(settings.depth, row, strict=False) if d > 1 and np.isfinite(q)]
            found |= {f"{name}, isometric to {depth}": (name, float(q)) for depth, q in usable}
    return found


def grid(settings: Settings) -> Grid:
    """One compilation per weight family; all networks share their draws and their program."""
    names, lengths = zip(*networks(settings).values(), strict=True)
    sigma_w, sigma_b, signal, _ = isometry.critical_networks(names, lengths)
    axis: dict[str, Any] = {"position": np.arange(len(names), dtype=float), "q": np.array(lengths)}
    axis |= {"sigma_w": sigma_w, "sigma_b": sigma_b, "signal": signal}
    constants = {k: asdict(settings)[k] for k in ("width", "depth", "dtype")}
    return Grid(
        static={"weights": WEIGHTS},
        traced={"network": axis},
        seeds=settings.seeds,
        constants=constants | {"names": names},
        coords={
            "network": list(networks(settings)),
            "depth": settings.depth,
            "index": range(1, settings.width + 1),
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Singular values of one network at every depth."""
    width, dtype = static["width"], static["dtype"]
    weight_key, input_key = jax.random.split(key)
    x = jax.random.normal(input_key, (width,), dtype)
    x = x * jnp.sqrt(width * point["signal"] / jnp.sum(x * x)).astype(dtype)
    phi = chosen(static["names"], point["position"].astype(int))
    sigma_w, sigma_b = (point[name].astype(dtype) for name in ("sigma_w", "sigma_b"))
    depth, family = static["depth"], static["weights"]
    found = prefix_spectra(weight_key, phi, family, sigma_w, sigma_b, width, depth, x, "fast")
    return {"log_singular_values": found}


def theory(settings: Settings) -> xr.Dataset:
    """Density, atoms, edge and moments of each network at each depth, and edges as functions of depth."""
    labels = grid(settings).labels()
    names, lengths = zip(*networks(settings).values(), strict=True)
    gaussian, position, depth = np.meshgrid([1.0, 0.0], range(len(names)), settings.depth, indexing="ij")
    q, ratio = np.array(lengths)[position], isometry.critical_networks(names, lengths)[3][position]
    sigma_w = labels["sigma_w"][1][position]

    def one(case: tuple[jax.Array, ...]) -> freeprob.Density:
        family, index, sigma_w, q, depth = case
        return freeprob.spectrum(chosen(names, index), sigma_w, q, depth, family, settings.points)

    cases = tuple(jnp.asarray(axis.ravel()) for axis in (gaussian, position, sigma_w, q, depth.astype(float)))
    found = jax.jit(lambda cases: jax.lax.map(one, cases))(cases)
    place, curve = ("weights", "network", "depth"), ("weights", "network", "depth", "point")
    columns = {
        "log_x": found.log_x,
        "per_log_predicted": found.per_log,
        "above_predicted": found.above,
        "mass_predicted": found.mass,
        "converged": found.converged,
        "log_edge": found.edge.log_edge,
        "edge_scale": found.edge.scale,
        "zero_predicted": found.atoms.zero,
        "atom_share": found.atoms.share,
        "atom_log_place": found.atoms.log_place,
    }
    arrays = {k: np.reshape(v, depth.shape + np.shape(v)[1:]) for k, v in columns.items()}
    variables: dict[str, Any] = {k: (curve if v.ndim == 4 else place, v) for k, v in arrays.items()}
    variables["relative_variance_predicted"] = (place, depth * (ratio + gaussian))
    ranks = [finitewidth.relu_rank(settings.width, depth) for depth in settings.depth]
    variables["rank_predicted"] = ("depth", [rank.mean for rank in ranks])
    variables["rank_variance"] = ("depth", [rank.variance for rank in ranks])
    variables |= isometry.edge_curves(settings.activation, settings.isometric, settings.spread, FINE)
    return xr.Dataset(variables, coords={k: v for k, v in labels.items() if k in DIMS} | {"fine": FINE})


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge masses, densities, edges, spread, zeros, and growth with depth."""
    groups = (_masses, _densities, _edges, _spread, _zeros, _growth, _factors, _limit)
    return [v for group in groups for v in group(result)]


def _rows(result: xr.Dataset, columns: dict[str, Any], deepest: float) -> pd.DataFrame:
    """Numbers of all networks at depths up to a share of the width, without those that are not defined."""
    at = xr.Dataset(columns)
    names, depths = result["network"].values, result["depth"].values
    judged = [[" to " not in str(n) or str(n).endswith(f" to {d}") for d in depths] for n in names]
    own = xr.DataArray(judged, {"network": names, "depth": depths}, ("network", "depth"))
    at = at.where(own & (at["depth"] <= max(1, result.sizes["index"] * deepest)))
    return at.to_dataframe()[list(columns)].dropna()


def _by_width(result: xr.Dataset, power: float) -> float:
    """Factor on a tolerance that is meant for width 512."""
    return float(max(1.0, (512 / result.sizes["index"]) ** power))


def _judged(claims: list[str], statement: str, source: str, **numbers: Any) -> list[Verdict]:
    """One verdict, by default on the claim that orthogonal weights avoid vanishing and exploding."""
    return [judge(claims, statement, source, **{"claim": REPAIRED, "correction": REPAIR, **numbers})]


def _masses(result: xr.Dataset) -> list[Verdict]:
    return _judged(
        ["C14"], f"The {result['mass_predicted'].size} predicted densities have mass 1, atoms included",
        PENNINGTON, measured=result["mass_predicted"].where(result["converged"]), predicted=1.0,
        tolerance=0.002, tolerance_from="0.0005 below the lowest point, trapezoids",
    )  # fmt: skip


def _densities(result: xr.Dataset) -> list[Verdict]:
    """Kolmogorov-Smirnov distance; gates of a narrow network close more than p = P(phi' = 0) predicts."""
    gates = xr.apply_ufunc(
        np.vectorize(lambda p, depth: fewest_open(result.sizes["index"], 1 - p, int(depth))),
        result["zero_predicted"], result["depth"].broadcast_like(result["zero_predicted"]),
    )  # fmt: skip
    tolerance = (0.02 + 0.02 * (result["depth"] > 16)) * _by_width(result, 0.5)
    tolerance = tolerance + 1 - result["zero_predicted"] - gates
    rows = _rows(result, {"distance": distances(result), "tolerance": tolerance}, 1 / 8)
    if rows.empty:
        return []
    return _judged(
        ["C14", "C5"], "Singular values follow the density of free probability, nothing fitted: distance of "
        "the distribution functions (one orthogonal layer, where nothing is multiplied, left out)",
        PENNINGTON, measured=rows["distance"], predicted=0.0, tolerance=rows["tolerance"],
        tolerance_from="theory to depth N/8: 0.02 at N = 512, 0.04 above depth 16, as N^(-1/2); and the "
        "expected surplus of zeros, of the fewest open gates in L layers",
    )  # fmt: skip


def fewest_open(width: int, share: float, depth: int) -> float:
    """Mean over ``width`` of the smallest of ``depth`` binomial numbers of open gates."""
    return float((stats.binom.sf(np.arange(width), width, share) ** depth).sum() / width)


def _edges(result: xr.Dataset) -> list[Verdict]:
    columns = {"measured": largest(result).mean("seed"), "predicted": predicted_largest(result)}
    columns["uncertainty"] = SPREAD * largest_scale(result) / np.sqrt(result.sizes["seed"])
    rows = _rows(result, columns, 1 / 16)
    if rows.empty:
        return []
    return _judged(
        ["C14"], "Logarithm of the largest s^2 over the mean: upper edge of the density, less 1.2065 "
        "Tracy-Widom scales; both families, all activations, atoms included",
        f"{PENNINGTON}; Tracy & Widom", **rows,
        tolerance=sampling_factor(len(rows)) * rows["uncertainty"] + 0.1 * _by_width(result, 0.5),
        tolerance_from="five standard errors of Tracy and Widom's law; 10 percent of s^2 at N = 512, as "
        "N^(-1/2), for what lengths and gates scatter besides; depth up to N/16",
    )  # fmt: skip


def _spread(result: xr.Dataset) -> list[Verdict]:
    measured, predicted = relative_variance(result).mean("seed"), result["relative_variance_predicted"]
    rows = _rows(result, {"measured": measured, "predicted": predicted}, 1 / 16)
    rows = rows[rows["predicted"] > 1e-6]
    if rows.empty:
        return []
    return _judged(
        ["C14"], "Variance of s^2 over its squared mean is L (mu_2 / mu_1^2 - 1 - s_1), s_1 = -1 for "
        "Gaussian and 0 for orthogonal weights: orthogonality removes L, the slopes' share stays",
        PENNINGTON, **rows, tolerance=0.2 * rows["predicted"],
        tolerance_from="20 percent at finite width, depth up to N/16",
    )  # fmt: skip


def _zeros(result: xr.Dataset) -> list[Verdict]:
    """Up to depth 4, where no other singular value is too small to resolve."""
    at = result.sel(depth=result["depth"] <= 4)
    if "relu" not in result["network"] or at.sizes["depth"] == 0:
        return []
    at, width = at.sel(network="relu", drop=True), result.sizes["index"]
    measured = log_squares(at).isnull().mean(("index", "seed")).transpose("weights", "depth")
    variance = (at["rank_variance"] / at.sizes["seed"]).broadcast_like(measured)
    error = np.sqrt(variance.values) / width
    return _judged(
        ["C14", "B3"], "Share of zeros among the singular values of a relu network, both families: 1/2 at "
        "every depth in the wide limit; at width N that of the layer with the fewest open gates",
        f"{PENNINGTON}; binomial law of the rank",
        measured=measured, predicted=(1 - at["rank_predicted"] / width).broadcast_like(measured),
        uncertainty=error, tolerance=sampling_factor(error.size) * error,
        tolerance_from="five exact standard errors; depth up to 4", claim="wrong",
        correction="Slopes of 0 and 1 lose half of all directions, whatever the weights.",
    )  # fmt: skip


def _growth(result: xr.Dataset) -> list[Verdict]:
    """Exponent of the largest s between the first depth above 1 and the last."""
    depths = [int(d) for d in result["depth"].values if d > 1]
    if len(depths) < 2:
        return []
    first, last, names = depths[0], depths[-1], [str(name) for name in result["network"].values]
    pairs = [(n, n) for n in names if " to " not in n]
    pairs += [(n, n.removesuffix(str(first)) + str(last)) for n in names if n.endswith(f" to {first}")]
    rows, told = [], []
    for family, (before, after) in product(result["weights"].values, pairs):
        if after in names:
            start = result.sel(weights=family, network=before, depth=first)
            end = result.sel(weights=family, network=after, depth=last)
            tops = [(float(largest(at).mean()), float(predicted_largest(at))) for at in (end, start)]
            rows.append(np.subtract(tops[0], tops[1]) / 2 / np.log(last / first))
            if family == "orthogonal":
                told.append(f"{before.removesuffix(f' to {first}')} {rows[-1][0]:.2f}")
    measured, predicted = np.array(rows).T
    return _judged(
        ["C14", "B3"], f"Exponent of growth of the largest singular value from depth {first} to {last}: "
        "1/2 for all Gaussian networks, for relu and any fixed q with orthogonal weights too, near 0 for "
        f"orthogonal networks of fixed sigma_0^2 (orthogonal: {', '.join(told)})",
        f"{PENNINGTON}; {UNIVERSAL}", measured=measured, predicted=predicted,
        tolerance=0.1 * _by_width(result, 1 / 2),
        tolerance_from="20 percent of s^2 at either end, at N = 512",
    )  # fmt: skip


def _factors(result: xr.Dataset) -> list[Verdict]:
    """The largest value of a product against the product of the largest values."""
    if not ("linear" in result["network"] and "gaussian" in result["weights"]):
        return []
    at = result.sel(network="linear", weights="gaussian")
    at = at.sel(depth=at["depth"] <= max(1, result.sizes["index"] / 16))
    top, depth = at.isel(index=0)["log_singular_values"].mean("seed") / np.log(10), at["depth"]
    predicted = ((depth + 1) * np.log(depth + 1) - depth * np.log(depth)) / 2
    shift = TRACY_WIDOM * largest_scale(at) / 2
    return _judged(
        ["C5"], "Each Gaussian factor has a largest singular value of 2, yet that of L factors is not 2^L: "
        "log10 of it, from sqrt((L+1)^(L+1) / L^L), about sqrt(e L), less Tracy-Widom",
        f"Fuss-Catalan law, {PENNINGTON}", measured=top, predicted=(predicted + shift) / np.log(10),
        tolerance=0.05 / np.log(10) * _by_width(result, 2 / 3) + 0.5 * np.sqrt(depth) / result.sizes["index"],
        tolerance_from="5 percent at N = 512, as N^(-2/3), and the wandering of the mean square",
        correction="At critical scale the largest singular value of a product grows like the root of the "
        "depth, not like the product of the factors'; most of the others vanish exponentially.",
    )  # fmt: skip


def _limit(result: xr.Dataset) -> list[Verdict]:
    if "isometric" not in result.dims or "orthogonal" not in result["weights"]:
        return []
    curve = np.exp(result["isometric_curve"].sel(weights="orthogonal", fine=FINE[-1]) / 2)
    return _judged(
        ["C14"], f"Orthogonal networks of fixed sigma_0^2, {FINE[-1]:.0f} layers: largest singular value "
        "from their own slopes against the universal limit of smooth activations", UNIVERSAL,
        measured=curve, predicted=float(np.sqrt(result["smooth_limit"])), tolerance=2 / np.sqrt(FINE[-1]),
        tolerance_from="corrections of order L^(-1/2)",
    )  # fmt: skip


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row for each weight family, network and depth."""
    top = largest(result)
    columns = {
        "q": result["q"],
        "sigma_w": result["sigma_w"],
        "largest_decades": top.mean("seed") / 2 / np.log(10),
        "largest_decades_error": top.std("seed", ddof=1) / np.sqrt(top.sizes["seed"]) / 2 / np.log(10),
        "edge_decades": result["log_edge"] / 2 / np.log(10),
        "largest_decades_predicted": predicted_largest(result) / 2 / np.log(10),
        "distance": distances(result),
        "relative_variance": relative_variance(result).mean("seed"),
        "relative_variance_predicted": result["relative_variance_predicted"],
    }
    columns |= {name: result[name] for name in ("zero_predicted", "atom_share", "mass_predicted")}
    order = ["weights", "network", "depth"]
    return xr.Dataset(columns).to_dataframe(order).reset_index()[[*order, *columns]]


EXPERIMENT = Experiment(
    name="free-probability",
    question="Does free probability foretell the whole Jacobian spectrum, and can depth leave it alone?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "log_singular_values": Variable(
            ("depth", "index"),
            "log of the singular values of dy^L/dy^0; NaN below 2e-16 of the largest",
            "nat",
        )
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
)
