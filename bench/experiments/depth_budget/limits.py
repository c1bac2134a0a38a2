"""Six limits on the depth of a network, each in hidden layers, and the networks they are compared on.

Every limit is a popular rule or theory's number for one way to fail, computed for the network's activation,
scales, width, optimizer and learning rate before it is trained; infinity where a network cannot fail so.
"""

from dataclasses import dataclass

import jax
import numpy as np
import optax

from signalprop.analysis import growth, meanfield
from signalprop.analysis.precision import number_format
from signalprop.bench.training.optimizers import optimizer
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
BIAS = 0.05**0.5


@dataclass(frozen=True)
class Network:
    """One network of the comparison: arguments of ``draw_classifier``, and how it is trained."""

    label: str
    activation: str
    sigma_w: float
    sigma_b: float
    width: int
    norm: str = "none"
    optimizer: str = "sgd"
    learning_rate: float = 0.02
    epsilon: float = 1e-8

    def method(self) -> optax.GradientTransformation:
        """The optimizer."""
        if self.optimizer == "sgd":
            return optax.sgd(self.learning_rate)
        return optimizer(self.optimizer, self.learning_rate, epsilon=self.epsilon)


def _tanh(width: int, name: str, squared: float, **more: float) -> Network:
    return Network(f"tanh, {name}, N = {width}", "tanh", squared**0.5, BIAS, width, **more)  # type: ignore[arg-type]


NETWORKS = {
    "tanh_ordered_16": _tanh(16, "ordered", 1.0),
    "tanh_ordered_64": _tanh(64, "ordered", 1.0),
    "tanh_critical_8": _tanh(8, "critical", 1.76),
    "tanh_critical_16": _tanh(16, "critical", 1.76),
    "tanh_critical_32": _tanh(32, "critical", 1.76),
    "tanh_critical_fast_32": Network(
        r"tanh, critical, N = 32, $\eta = 0.2$", "tanh", 1.76**0.5, BIAS, 32, learning_rate=0.2
    ),
    "tanh_chaotic_16": _tanh(16, "chaotic", 4.0),
    "tanh_chaotic_64": _tanh(64, "chaotic", 4.0),
    "relu_he_8": Network("relu, He, N = 8", "relu", 2**0.5, 0.0, 8),
    "relu_he_32": Network("relu, He, N = 32", "relu", 2**0.5, 0.0, 32),
    "relu_xavier_32": Network("relu, Xavier, N = 32", "relu", 1.0, 0.0, 32),
    "sigmoid_sgd_32": Network("sigmoid, Xavier, N = 32", "sigmoid", 1.0, 0.0, 32, learning_rate=0.2),
    "sigmoid_adam_32": Network(
        "sigmoid, Xavier, N = 32, Adam", "sigmoid", 1.0, 0.0, 32, optimizer="adam", learning_rate=0.01
    ),
    "relu_bn_32": Network("relu, batch norm, N = 32", "relu", 2**0.5, 0.0, 32, norm="batch"),
    "tanh_bn_32": Network("tanh, batch norm, N = 32", "tanh", 1.0, 0.0, 32, norm="batch"),
}


_fixed_point = jax.jit(meanfield.fixed_point, static_argnums=0)
_layer_growth = jax.jit(growth.layer_growth, static_argnums=0)
_batch_norm = jax.jit(growth.batch_norm, static_argnums=(0, 1))


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
