"""The networks on which limits on depth are compared, and how each is trained."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optax

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

    def method(self) -> "optax.GradientTransformation":
        """The optimizer."""
        import optax

        from signalprop.bench.training.optimizers import optimizer

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
