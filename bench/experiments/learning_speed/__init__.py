r"""Do the layers near the input learn more slowly than those near the output?

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

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.experiments.learning_speed.learners import find_learner
from signalprop.bench.measure.names import DATA_SETS
from signalprop.bench.training.settings import require_learning_rates

NIELSEN = ("sigmoid-2", "sigmoid-3", "sigmoid-4", "relu-4", "tanh-4", "batch_norm-4", "residual-4")


@dataclass(frozen=True)
class Settings:
    """Settings of ``learning-speed``."""

    network: tuple[str, ...] = ("sigmoid-4", "relu-4")
    """Networks of ``learners.py`` with the hidden layers that are trained, as ``sigmoid-4``."""
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
        require_known("data", (self.data,), DATA_SETS)
        require_learning_rates((self.learning_rate,))
        require_scale("decay", (self.decay,))
        for axis in ("examples", "width", "epochs", "records", "starts", "seeds"):
            require_count(axis, (getattr(self, axis),))
        require_count("depth", (self.depth,), max(2, deepest))
        if self.epochs % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.epochs} epochs")


SIZES = {
    "quick": Settings(),
    "standard": Settings(network=NIELSEN, examples=1000, epochs=500, records=100, seeds=10),
    "full": Settings(network=NIELSEN, examples=1000, epochs=500, records=100, starts=10, seeds=100),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
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
)
