r"""What do the activations of sigmoid, tanh and softsign networks do while they learn?

The networks of Glorot & Bengio (2010), AISTATS 9, figures 2, 3, 4, 7 and 11, made smaller: four hidden
layers of 100 units, zero biases, weights uniform in +-1/sqrt(n) ("standard", n Var W = 1/3) or in
+-sqrt(6 / (n_in + n_out)) (N, "normalized"), plain SGD on batches of ten. The task is online: images of one
or two shapes in nine classes, never the same twice; and the bundled digits. Of the same learning rates for
all, each network counts at the one with the smallest median training loss at the end. The loss is that of the
same networks, so the intervals of the test errors hold at the chosen rate and leave out its choice. Layers of
sigmoids, which may not learn at any rate, are watched at the largest.

Measured while they learn, on examples that they do not learn from: mean, standard deviation and 98th
percentile of every layer's activations, the share of saturated units (slope below a tenth of the largest),
the size of the back-propagated gradient and of the weight gradients, and the test error.

Theory: at the start, activations and gradients follow the wide-network recursion with its 1/N terms
(`analysis.fluctuations`). For what happens later there is an explanation but no number: the output learns a
constant long before the features are of use, and for a sigmoid the way to silence useless features is to push
them to 0, where it is saturated. One network cannot use the read-out's bias for that, to see if it matters.
"""

from dataclasses import dataclass
from typing import NamedTuple

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import require_count, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_learning_rates, require_problem

SCHEMES = ("uniform_standard", "glorot_uniform")
VARIABLES = {
    "mean": Variable(("update", "layer"), "mean activation"),
    "deviation": Variable(("update", "layer"), "standard deviation of the activations"),
    "high": Variable(("update", "layer"), "98th percentile of the activations"),
    "saturated": Variable(("update", "layer"), "share of saturated units and examples"),
    "log_delta": Variable(("update", "layer"), "log rms back-propagated gradient dE/dz", "nat"),
    "log_gradient": Variable(("update", "layer"), "log rms weight gradient", "nat"),
    "test_error": Variable(("update",), "error on examples not trained on"),
    "loss": Variable(("update",), "training loss, mean over the record that begins at the update", "nat"),
    "histogram": Variable(("layer", "bin"), "share of the activations after training"),
    "final_error": Variable((), "error after training, on examples not trained on"),
    "final_loss": Variable((), "loss on these", "nat"),
    "diverged_at": Variable((), "update at which the run left float range; 0: never"),
}


class Network(NamedTuple):
    """One network of Glorot & Bengio (2010).

    Attributes:
        label: For people; N is their normalized initialisation.
        phi: Its activation.
        scheme: Its initialisation.
        readout_bias: Factor of the learning rate of the read-out's bias; 0 freezes it at 0.
    """

    label: str
    phi: str
    scheme: str
    readout_bias: float = 1.0


NETWORKS = {
    "sigmoid": Network("Sigmoid", "sigmoid", SCHEMES[0]),
    "sigmoid_normalized": Network("Sigmoid N", "sigmoid", SCHEMES[1]),
    "sigmoid_unbiased": Network("Sigmoid, no output bias", "sigmoid", SCHEMES[0], 0.0),
    "tanh": Network("Tanh", "tanh", SCHEMES[0]),
    "tanh_normalized": Network("Tanh N", "tanh", SCHEMES[1]),
    "softsign": Network("Softsign", "softsign", SCHEMES[0]),
    "softsign_normalized": Network("Softsign N", "softsign", SCHEMES[1]),
}


@dataclass(frozen=True)
class Settings:
    """Settings of ``xavier-training``."""

    data: tuple[str, ...] = ("shapes", "digits")
    """Tasks: shapes, drawn afresh for every batch, or any classification problem."""
    network: tuple[str, ...] = tuple(NETWORKS)
    """Networks: activation and initialisation."""
    learning_rate: tuple[float, ...] = (0.03, 0.1, 0.3)
    """Learning rates, the same for every network."""
    depth: int = 4
    """Hidden layers."""
    width: int = 100
    """Units of every hidden layer."""
    batch_size: int = 10
    """Examples per update."""
    updates: int = 2400
    """Updates of every network."""
    records: int = 30
    """Points of the curves; divides the updates."""
    probe: int = 100
    """Test examples on which activations and gradients are measured while a network learns."""
    curve_size: int = 300
    """Test examples of the error while a network learns."""
    test_size: int = 2000
    """Test examples of the error at the end, where there are so many."""
    seeds: int = 4
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_values("data", self.data)
        for name in self.data:
            if name != "shapes":
                require_problem(name)
        require_values("network", self.network)
        for name in self.network:
            if name not in NETWORKS:
                raise InputError(f"network: no {name!r}; {nearest(name, NETWORKS)}")
        require_learning_rates(self.learning_rate)
        require_count("depth", (self.depth,), 2)
        require_count("records", (self.records,), 2)
        for axis in ("width", "batch_size", "updates", "probe", "curve_size", "test_size"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(
        data=("shapes",), network=("sigmoid", "tanh", "softsign"), learning_rate=(0.3,),
        width=50, updates=400, records=20, probe=30, curve_size=100, test_size=500, seeds=2,
    ),
    "standard": Settings(),
    "full": Settings(
        learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0), depth=5, width=1000, updates=200_000, records=100,
        probe=300, seeds=10,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(__name__, SIZES, VARIABLES)
