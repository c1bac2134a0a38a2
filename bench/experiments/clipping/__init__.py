r"""What does clipping do to gradients that explode, and what do penalties do?

Gradient descent on four kinds of networks (``scenes.py``): the error surface with a cliff of one
recurrent unit, a deep tanh classifier, a recurrent tanh network, and one value learnt from errors far from
0. Every gradient is left alone, clipped to a norm c, clipped entry by entry, or joined by an L2 or L1
penalty. All treatments of a seed share weights and batches.

Measured before training: the gradients of 64 batches, their norms, and the angle by which clipping turns
them. At every step: the gradient's norm, the update's, whether clipping engaged, the loss; the recurrent
weights' Frobenius norm, and at ten steps their spectral radius.

Theory: clipping by norm multiplies g by min(1, c / |g|), so an update of gradient descent has the norm
min(lr |g|, lr c) and the direction of g; where |g| < c it changes not one bit. A first step is clipped with
the probability P(|g| > c) over batches. The penalty alpha |W|^2 has the gradient 2 alpha W, hence without
any other gradient W_t = (1 - lr l2)^t W_0, with l2 = 2 alpha; with one, the norm is off by at most lr sum
|g|. The square of a clipped error has no gradient outside the range, Huber's loss the gradient +-1. No
theory gives the number of successes; its intervals are exact (Clopper & Pearson 1934).

Sources: Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063 (algorithm 1, figure 6); Mnih et al. (2015), Nature
518; Karpathy (2016), Yes you should understand backprop; He et al. (2015), arXiv:1502.01852 (weight decay).
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.experiments.clipping.treatments import treatment
from signalprop.bench.training.settings import require_learning_rates

NETWORKS = ("deep", "recurrent", "cliff", "td_clipped", "td_huber")
MOMENTS = 10  # steps at which the spectral radius is measured


@dataclass(frozen=True)
class Settings:
    """Settings of ``clipping``."""

    network: tuple[str, ...] = NETWORKS
    """Networks of ``scenes.py``."""
    treatment: tuple[str, ...] = ("none", "norm-1", "value-0.01", "l2-0.1")
    """What happens to the gradient: none, norm-c, value-c, l2-c or l1-c with a number c above 0."""
    gain: tuple[float, ...] = (0.5, 2.5)
    """Scale of the weights: sigma_w of the deep network, of the recurrent weights otherwise."""
    learning_rate: tuple[float, ...] = (0.1,)
    """Learning rates of gradient descent."""
    depth: int = 20
    """Hidden layers of the deep network."""
    units: int = 24
    """Units of the deep and of the recurrent network."""
    batch_size: int = 16
    """Examples or sequences per update."""
    cliff_steps: int = 50
    """Steps of the recurrent network with a cliff."""
    updates: int = 60
    """Updates, a multiple of 10."""
    surface: int = 81
    """Points of the error surface along each weight."""
    seeds: int = 4
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_values("network", self.network)
        require_known("network", self.network, NETWORKS)
        require_values("treatment", self.treatment)
        for name in self.treatment:
            treatment(name)
        require_scale("gain", self.gain)
        require_learning_rates(self.learning_rate)
        for axis in ("depth", "units", "batch_size", "cliff_steps", "updates", "surface"):
            require_count(axis, (getattr(self, axis),), 2)
        if self.updates % MOMENTS:
            raise InputError(f"updates: got {self.updates}; write a multiple of {MOMENTS}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        treatment=("none", "norm-0.1", "norm-1", "value-0.01", "l2-0.1", "l1-0.001"),
        gain=(0.5, 0.9, 1.2, 1.5, 2.5),
        learning_rate=(0.01, 0.1),
        units=32,
        updates=200,
        seeds=8,
    ),
    "full": Settings(
        treatment=(
            "none", "norm-0.01", "norm-0.1", "norm-1", "norm-10", "value-0.001", "value-0.01", "value-0.1",
            "l2-0.001", "l2-0.01", "l2-0.1", "l1-0.0001", "l1-0.001", "l1-0.01",
        ),
        gain=(0.5, 0.9, 1.2, 1.5, 2.0, 2.5, 3.0),
        learning_rate=(0.003, 0.01, 0.03, 0.1, 0.3),
        depth=30,
        units=64,
        batch_size=32,
        updates=2000,
        seeds=20,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_first_gradient": Variable(("probe",), "log gradient norm over batches, before training", "nats"),
        "cosine": Variable(("probe",), "cosine of a gradient with itself clipped, before training"),
        "penalty_error": Variable((), "largest deviation of the slope of alpha |W|^2 from 2 alpha W"),
        "loss": Variable(("update",), "loss on the update's batch"),
        "log_gradient_norm": Variable(("update",), "log of the gradient norm before clipping", "nats"),
        "clip_rate": Variable(("update",), "1 if clipping by norm engaged"),
        "log_update": Variable(("update",), "log of the update's norm", "nats"),
        "place": Variable(("update", "weight"), "weights of the network with a cliff; value of the td's"),
        "log_weight": Variable(("update",), "log of the kernel's Frobenius norm", "nats"),
        "radius": Variable(("moment",), "spectral radius of the recurrent weights"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
    },
)
