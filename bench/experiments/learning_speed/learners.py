"""Nielsen's network and remedies for it, by name."""

from typing import NamedTuple

from signalprop.bench.engine.errors import InputError, nearest


class Learner(NamedTuple):
    """A way to build hidden layers.

    Attributes:
        label: For people.
        activation: Name in ``activations.ACTIVATIONS``.
        sigma_w: Scale of the weights.
        sigma_b: Standard deviation of the biases.
        norm: Name in ``normalization.NORMS``.
        skip: Whether every hidden layer but the first adds to the one below.
    """

    label: str
    activation: str = "sigmoid"
    sigma_w: float = 1.0
    sigma_b: float = 1.0
    norm: str = "none"
    skip: bool = False

    @property
    def plain(self) -> bool:
        """Whether mean field theory of plain layers covers it."""
        return self.norm == "none" and not self.skip


LEARNERS = {
    "sigmoid": Learner("sigmoid, Nielsen's"),
    "relu": Learner("relu, He", "relu", 2**0.5, 0.0),
    "tanh": Learner("tanh, Xavier", "tanh", 1.0, 0.0),
    "batch_norm": Learner("sigmoid, batch norm", norm="batch"),
    "residual": Learner("sigmoid, residual", skip=True),
}


def find_learner(name: str) -> tuple[Learner, int]:
    """The learner and its hidden layers, of a name like ``sigmoid-4``.

    Raises:
        InputError: If either is missing or unknown.
    """
    kind, _, depth = name.rpartition("-")
    if kind not in LEARNERS:
        raise InputError(
            f"network: no {name!r}; {nearest(kind or name, LEARNERS)}, with its layers: sigmoid-4"
        )
    if not depth.isdigit() or int(depth) < 1:
        raise InputError(f"network: got {name!r}; write the number of hidden layers behind it: {kind}-4")
    return LEARNERS[kind], int(depth)
