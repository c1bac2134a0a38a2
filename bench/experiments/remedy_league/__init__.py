r"""Which remedies make a network trainable whose gradients vanish or explode?

Two networks that fail: 30 sigmoid layers with Xavier weights, whose gradient shrinks by 18 decades from the
last layer to the first, and 30 tanh layers with sigma_w^2 = 9, whose gradient grows by 3.7. Every remedy of
``recipes.py`` changes one thing about them, a combination two. One rule for all: an initialisation remedy
keeps the activation, an activation brings a critical initialisation of its own, everything else keeps
activation and sigma_w.

The protocol is the same for every remedy: data, batches, steps, seeds and the number of learning rates. These
are multiples of a unit that is the same for every optimizer of a class: 1 for gradient descent with whatever
network, regulariser or clipping, 0.1 for momentum (whose steps add up tenfold) and for Adagrad, 0.01 for
RMSProp and Adam; two entries try rates 100 and 10,000 times as large. The first ``tuning_seeds`` seeds choose
the rate: most successes, then fewest steps to the threshold (median), then the highest final accuracy, then
the smaller rate. They are then left out: all scores are of the other seeds. A network succeeds if it did not
diverge and its accuracy on 1,000 training examples is above the threshold after the last step.

Measured before and after training: the decades between |dE/dy^1| and |dE/dy^L|, in the log domain. Theory
predicts them before training (``theory.py``), and calls a network trainable if its depth is within
reach, six depth scales of the correlation or sixteen of the gradient with batch norm, and its gradient is
uniform to two decades. Optimizers, clipping and penalties change neither. Costs are operations per step by
XLA's count, never a clock.

Sources: Glorot & Bengio (2010), AISTATS 9; He et al. (2015), arXiv:1502.01852; Saxe et al. (2013),
arXiv:1312.6120; Mishkin & Matas (2015), arXiv:1511.06422; Schoenholz et al. (2016), arXiv:1611.01232; Ioffe &
Szegedy (2015), arXiv:1502.03167; Yang et al. (2019), arXiv:1902.08129; He et al. (2016), arXiv:1603.05027;
Bachlechner et al. (2020), arXiv:2003.04887; Zhang et al. (2019), arXiv:1901.09321; Pascanu et al. (2012),
arXiv:1211.5063.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.experiments.remedy_league.recipes import NETWORKS, REMEDIES
from signalprop.bench.training.settings import require_learning_rates, require_problem


@dataclass(frozen=True)
class Settings:
    """Settings of ``remedy-league``."""

    network: tuple[str, ...] = tuple(NETWORKS)
    """Networks that fail."""
    remedy: tuple[str, ...] = ("none", "xavier", "orthogonal", "critical", "l2", "clip_norm")
    """Remedies of ``recipes.py``."""
    rate: tuple[float, ...] = (0.1,)
    """Learning rates, in units of the class of the optimizer; the best of the tuning seeds counts."""
    data: str = "gm10"
    """Classification problem of ``bench.training.classification``."""
    width: int = 32
    """Units per hidden layer."""
    depth: int = 30
    """Hidden layers."""
    batch_size: int = 32
    """Examples per step."""
    steps: int = 60
    """Steps of every network."""
    records: int = 20
    """Points of the learning curves; divides the steps."""
    threshold: float = 0.5
    """Training accuracy above which a network succeeds."""
    tuning_seeds: int = 2
    """Seeds that choose the learning rate and are not scored."""
    seeds: int = 8
    """Networks per remedy and rate, with those for tuning."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for axis, known in (("network", NETWORKS), ("remedy", REMEDIES)):
            require_values(axis, getattr(self, axis))
            require_known(axis, getattr(self, axis), known)
        require_learning_rates(self.rate, "rate")
        for axis in ("width", "batch_size", "steps", "records", "tuning_seeds", "seeds"):
            require_count(axis, (getattr(self, axis),))
        if self.depth < 3:
            raise InputError(f"depth: got {self.depth}; write at least 3")
        if self.batch_size < 4:
            raise InputError(f"batch_size: got {self.batch_size}; write at least 4")
        if self.steps % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.steps} steps")
        if self.tuning_seeds >= self.seeds:
            raise InputError(
                f"tuning_seeds: got {self.tuning_seeds}; write fewer than the {self.seeds} seeds"
            )
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold: got {self.threshold}; write a share between 0 and 1")
        require_problem(self.data)


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        remedy=tuple(REMEDIES), rate=(0.01, 0.03, 0.1, 0.3), steps=400, tuning_seeds=4, seeds=24
    ),
    "full": Settings(
        remedy=tuple(REMEDIES),
        rate=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        width=64,
        batch_size=64,
        steps=1000,
        tuning_seeds=5,
        seeds=25,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "accuracy": Variable(("member",), "accuracy on 1,000 training examples after the last step"),
        "solved": Variable(("member",), "1 if it is above the threshold and the network did not diverge"),
        "curve": Variable(("member", "step"), "mean accuracy on the batches up to the step"),
        "decades": Variable(
            ("member", "moment"), "log10 of |dE/dy^1| / |dE/dy^L| before and after training", "decades"
        ),
        "diverged_at": Variable(("member",), "step at which the run left float range; 0: never"),
    },
)
