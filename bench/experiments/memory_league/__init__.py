r"""Which remedies make a recurrent network learn what it must remember for 50 steps?

The third network of the remedy league: a tanh network on the adding problem, trained by plain gradient
descent, which fails. Every remedy of ``competitors.py`` changes one thing about it, a combination two.
Remedies that are no optimizer are run twice, with plain gradient descent as the failing network is, and with
Adam, because nearly nothing learns with plain gradient descent in this budget; momentum, Adagrad, RMSProp and
Adam are run without another remedy.

The protocol is the same for every competitor: task, sequences, updates (flossing pays for its own), units,
batch size, and the number of learning rates. These are multiples of a unit that belongs to the optimizer: 1
for gradient descent, 0.1 for momentum (whose steps add up tenfold) and Adagrad, 0.01 for RMSProp and Adam.
``tuning_seeds`` networks per rate choose it: most successes, then the smallest loss. They are then left
out: the networks that count have other seeds. (At 0.01 and 0.03 plain gradient descent left the tanh
network at chance in a pilot with two seeds; at 0.1 some networks diverge.) Success is the task's own
criterion on 500 fresh sequences; its intervals are exact (Clopper & Pearson 1934). Costs are operations per
step of a sequence by XLA's count, forward and backward, never a clock; the optimizer's own, below 1 %, are
left out.

Measured before and after training: the decades that the gradient of the answer gains or loses over the whole
sequence. Theory predicts them before training where the recurrence has a mean field, T/2 log10(g^2 E phi'^2),
and says that optimizers, clipping and penalties change neither. No theory gives the number of successes.

Sources: Pascanu, Mikolov & Bengio (2013), arXiv:1211.5063 (clipping, Omega); Le, Jaitly & Hinton (2015),
arXiv:1504.00941 (IRNN, adding problem); Hochreiter & Schmidhuber (1997), Neural Computation 9(8); Gers et al.
(2000), Neural Computation 12(10) (forget gate); Cho et al. (2014), arXiv:1406.1078 (GRU); Ba et al. (2016),
arXiv:1607.06450 (layer norm); Engelken (2023), arXiv:2312.17306 (flossing).
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.experiments.memory_league.competitors import ALONE, PARTS, competitor
from signalprop.bench.training.settings import require_learning_rates, require_optimizers, task_and_length

COMBINATIONS = ("relu+clip_norm", "gru+clip_norm")


@dataclass(frozen=True)
class Settings:
    """Settings of ``memory-league``."""

    remedy: tuple[str, ...] = ("none", "clip_norm", "gru")
    """Remedies of ``competitors.py``; several at once as ``gru+clip_norm``."""
    optimizer: tuple[str, ...] = ("sgd", "rmsprop", "adam")
    """Optimizers; momentum, Adagrad and RMSProp are run without another remedy only."""
    task: str = "adding-10"
    """A task of ``bench.training.tasks`` with one number as its answer, and its length T."""
    multiple: tuple[float, ...] = (0.1, 1.0)
    """Learning rates, in units of the optimizer: 1 for sgd, 0.1, or 0.01."""
    units: int = 16
    """Hidden units."""
    batch_size: int = 16
    """Sequences per update."""
    updates: int = 400
    """Updates of every network."""
    records: int = 20
    """Points of the learning curves; divides the updates."""
    test_size: int = 500
    """Sequences that a trained network is judged on."""
    tuning_seeds: int = 1
    """Networks per learning rate that choose it."""
    seeds: int = 6
    """Networks per competitor that count."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_values("remedy", self.remedy)
        for name in self.remedy:
            competitor(name)
        require_optimizers(self.optimizer)
        if set(self.optimizer) <= set(ALONE) and set(self.remedy) != {"none"}:
            raise InputError(f"optimizer: got {', '.join(self.optimizer)}; write sgd or adam beside them")
        if not task_and_length(self.task)[0].startswith("adding"):
            raise InputError(f"task: got {self.task}; write one with a number as its answer, adding-50")
        require_learning_rates(self.multiple, "multiple")
        for axis in ("units", "batch_size", "updates", "records", "test_size", "tuning_seeds"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records or self.records < 2:
            raise InputError(f"records: got {self.records}; write 2 or more, a divisor of {self.updates}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        remedy=(*PARTS, *COMBINATIONS),
        optimizer=("sgd", "heavy_ball", "adagrad", "rmsprop", "adam"),
        task="adding-50",
        multiple=(0.1, 0.3, 1.0),
        units=32,
        updates=800,
        tuning_seeds=2,
        seeds=12,
    ),
    "full": Settings(
        remedy=(*PARTS, *COMBINATIONS),
        optimizer=("sgd", "heavy_ball", "nesterov", "adagrad", "rmsprop", "adam"),
        task="adding-150",
        multiple=(0.01, 0.03, 0.1, 0.3, 1.0),
        units=100,
        batch_size=20,
        updates=20_000,
        records=100,
        test_size=10_000,
        tuning_seeds=4,
        seeds=20,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "rate": Variable(("optimizer",), "learning rate that the held-out networks chose"),
        "test_loss": Variable(("optimizer",), "loss on sequences not trained on"),
        "solved": Variable(("optimizer",), "1 if the task is solved"),
        "curve": Variable(
            ("optimizer", "update"), "training loss without regulariser, mean around the update"
        ),
        "log_gradient_norm": Variable(
            ("optimizer", "update"), "log of the gradient norm before clipping", "nats"
        ),
        "clip_rate": Variable(("optimizer", "update"), "share of updates clipped by norm"),
        "diverged_at": Variable(("optimizer",), "update at which the run left float range; 0: never"),
        "decades": Variable(
            ("optimizer", "moment"), "log10 of the answer's gradient over the sequence", "decades"
        ),
    },
)
