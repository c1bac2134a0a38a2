"""Six limits on the depth of a network, each in hidden layers.

Every limit is a popular rule or theory's number for one way to fail, computed for the network's activation,
scales, width, optimizer and learning rate before it is trained; infinity where a network cannot fail so.
"""

import jax
import numpy as np

from signalprop.analysis import growth, meanfield
from signalprop.analysis.precision import number_format
from signalprop.bench.experiments.depth_budget.networks import Network
from signalprop.models.activations import activation

LIMITS = ("information", "gradient", "width", "batch norm", "floating point", "sharpness")
RULES = {
    "information": r"$6\,\xi_c$",
    "gradient": r"$6\,|\xi_\mathrm{grad}|$",
    "width": r"Var $\log |g|^2 = 1$",
    "batch norm": r"$16\,\xi_\mathrm{BN}$",
    "floating point": r"step of $W^1$ lost",
    "sharpness": r"$\eta \lambda_\mathrm{max} = 2$",
}
SCHOENHOLZ, YANG = 6.0, 16.0  # multiples of depth scales: arXiv 1611.01232 and 1902.08129

_fixed_point = jax.jit(meanfield.fixed_point, static_argnums=0)
_layer_growth = jax.jit(growth.layer_growth, static_argnums=0)
_batch_norm = jax.jit(growth.batch_norm_factor, static_argnums=(0, 1))


def depth_limits(network: Network, batch_size: int) -> dict[str, float]:
    """The limits that need no measurement: information, gradient, width and batch norm.

    * information: 6 xi_c layers, where the paper's training ends; inf where correlations decay as a power.
    * gradient: 6 |xi_grad| of the squared gradient, vanishing or exploding; inf where chi_1 = 1.
    * width: layers after which log |g|^2 varies by 1 over networks, N / (3 mu_2 / mu_1^2 - 1),
      which is N / 5 for relu.
    * batch norm: 16 / log of the factor of |g|^2 per layer, instead of the first two.
    """
    phi = activation(network.activation)
    if network.norm == "batch":
        factor = float(_batch_norm(phi, batch_size))
        q = 1.0
        scales = {"information": np.inf, "gradient": np.inf, "batch norm": YANG / np.log(factor)}
    else:
        point = _fixed_point(phi, network.sigma_w, network.sigma_b)
        q = float(point.q_star)
        scales = {
            "information": _positive(SCHOENHOLZ * float(point.xi_c)),
            "gradient": _positive(SCHOENHOLZ * abs(float(point.xi_grad))),
            "batch norm": np.inf,
        }
    shift = float(_layer_growth(phi, q, network.sigma_w).shift)
    return scales | {"width": network.width / (2 * shift)}


def _positive(value: float) -> float:
    return value if np.isfinite(value) and value > 0 else float(np.inf)


def floating_point_limit(
    network: Network, depth: np.ndarray, log_gradient: np.ndarray, log_weight: float, dtype: str
) -> float:
    """Depth at which the first kernel's steps are lost.

    Plain descent: a typical step is below half a gap between neighbours of a typical weight, and rounding
    undoes it. Adam: a typical entry of the gradient falls below epsilon, and the step shrinks with it.

    Args:
        network: The network.
        depth: Depths at which the gradient was measured.
        log_gradient: Natural log of the rms entry of the first kernel's gradient there.
        log_weight: Natural log of the rms weight.
        dtype: Of the weights.
    """
    if network.optimizer == "adam":
        edge = np.log(network.epsilon)
    else:
        half_gap = log_weight - number_format(dtype).precision * np.log(2)
        edge = half_gap - np.log(network.learning_rate)
    return crossing(depth, log_gradient, edge, rising=False)


def crossing(depth: np.ndarray, log_value: np.ndarray, edge: float, *, rising: bool) -> float:
    """Depth where a log first passes an edge, interpolated; inf if it never does, the first depth if there.

    An exact zero, -inf, has passed a falling edge: it is placed at the probe's own depth.
    """
    passed = log_value >= edge if rising else log_value <= edge
    if not passed.any():
        return float(np.inf)
    i = int(np.argmax(passed))
    if i == 0 or not np.isfinite(log_value[i]):
        return float(depth[i])
    share = (edge - log_value[i - 1]) / (log_value[i] - log_value[i - 1])
    return float(depth[i - 1] + share * (depth[i] - depth[i - 1]))
