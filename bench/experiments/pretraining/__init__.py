r"""What does greedy pretraining change: the gradient, saturation, or the optimum that is found?

Classifiers of several hidden layers start from random weights of six kinds, or from weights that were trained
layer by layer without labels, as restricted Boltzmann machines (one step of contrastive divergence) or as
denoising autoencoders. Then all are trained by plain stochastic gradient descent on the same batches at the
same learning rates. The better rate counts: where more seeds reach the target or, at equal numbers, with the
smaller median loss. Nothing else was tuned; pretraining has one rate, from a pilot on reconstruction alone.

Measured before and after training: the gradient of every layer, the spread of the singular values of the
Jacobian between hidden layers, and how well neighbouring layers fit each other's directions (Saxe's decoupled
modes: 1 of orthogonal layers, 1/2 of independent wide Gaussian ones); during it the loss and the share of
saturated units of the last hidden layer. Updates to the target count those of pretraining: every layer takes
part in each update of training, and in ``pretraining`` updates of its own before. For both kinds of greedy
training the layers are also trained on together as one deep autoencoder.

Sources: Hinton, Osindero & Teh (2006), Neural Computation 18(7); Bengio, Lamblin, Popovici & Larochelle
(2007), NIPS 19; Vincent et al. (2008), ICML; Glorot & Bengio (2010), AISTATS; Saxe, McClelland & Ganguli
(2013), arXiv:1312.6120, figure 6A.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import INPUTS
from signalprop.bench.training.settings import PROBLEMS, require_learning_rates
from signalprop.models.names import UNITS

LABELS = {
    "normal_001": "normal, deviation 0.01",
    "uniform_standard": "uniform, 1/sqrt(n)",
    "glorot_uniform": "Xavier",
    "orthogonal": "orthogonal, gain 1",
    "critical": "Gaussian, critical",
    "orthogonal_critical": "orthogonal, critical gain",
    "rbm": "pretrained: RBMs",
    "autoencoder": "pretrained: autoencoders",
}
STARTS = tuple(LABELS)
PRETRAINED = ("rbm", "autoencoder")


@dataclass(frozen=True)
class Settings:
    """Settings of ``pretraining``."""

    activation: tuple[str, ...] = ("sigmoid",)
    """Activations: sigmoid, tanh or linear."""
    data: tuple[str, ...] = ("digits",)
    """Data sets."""
    depth: tuple[int, ...] = (4,)
    """Hidden layers, at least two."""
    start: tuple[str, ...] = STARTS
    """How networks start."""
    learning_rate: tuple[float, ...] = (1.0, 3.0)
    """Learning rates; the better one counts."""
    width: int = 32
    """Units of every hidden layer."""
    batch_size: int = 32
    """Examples per update."""
    updates: int = 300
    """Updates of training."""
    records: int = 15
    """Points of the learning curves; divides the updates."""
    pretraining: int = 200
    """Updates of each layer in pretraining."""
    pretraining_rate: float = 0.1
    """Learning rate of pretraining."""
    noise: float = 0.25
    """Probability with which an autoencoder's inputs are masked."""
    joint_updates: int = 50
    """Updates of all layers together as one autoencoder, of networks of the largest depth."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, UNITS)
        require_known("start", self.start, STARTS)
        require_known("data", self.data, (*PROBLEMS, *INPUTS))
        require_count("depth", self.depth, 2)
        require_learning_rates(self.learning_rate)
        require_learning_rates((self.pretraining_rate,), "pretraining_rate")
        for axis in ("width", "batch_size", "updates", "records", "pretraining", "joint_updates"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")
        if not 0 <= self.noise < 1:
            raise InputError(f"noise: got {self.noise}; write a probability below 1")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        activation=("sigmoid", "tanh"),
        depth=(2, 4, 6, 8),
        learning_rate=(0.3, 1.0, 3.0),
        updates=600,
        records=30,
        pretraining=400,
        joint_updates=200,
        seeds=8,
    ),
    "full": Settings(
        activation=("sigmoid", "tanh"),
        data=("digits", "gm10"),
        depth=(4, 6, 8, 12),
        learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
        width=200,
        updates=20_000,
        records=100,
        pretraining=5000,
        joint_updates=2000,
        seeds=20,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "curve": Variable(("update",), "training loss, mean of the updates before", "nats"),
        "saturated": Variable(("update",), "share of saturated units of the last hidden layer"),
        "top_mean": Variable(("update",), "mean activity of the last hidden layer"),
        "log_gradient": Variable(
            ("when", "layer"), "log norm of the kernel's gradient, read-out last", "nats"
        ),
        "spread": Variable(("when",), "deviation of the log singular values of dy^L/dy^1", "nats"),
        "alignment": Variable(("when",), "share of the largest norm of products of neighbouring layers"),
        "train_loss": Variable((), "loss on all training examples after training; inf: diverged", "nats"),
        "train_accuracy": Variable((), "share of right answers on them"),
        "test_accuracy": Variable((), "share of right answers on the test examples"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "greedy_error": Variable(("method", "layer"), "mean square reconstruction error of greedy training"),
        "joint_error": Variable(("method", "when"), "the same of the whole stack, and after joint training"),
    },
)
