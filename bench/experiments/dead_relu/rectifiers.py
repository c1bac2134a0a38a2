"""Networks whose units may die in training: activation, optimizer, depth, width, and their learning rates."""

from typing import NamedTuple

from signalprop.bench.engine.grid import require_known


class Rectifier(NamedTuple):
    """A network with the way it is trained.

    Attributes:
        label: For people.
        largest_rate: Largest learning rate tried, one at which hardly any of its networks learns. Found in a
            pilot with two seeds (of Adagrad and RMSProp with optax's own, whose epsilon is another), except
            for leaky relu, 8 layers and quarter width: theirs is that of SGD, not piloted. All others are
            the same multiples of it.
        optimizer: Name in ``optimizers.OPTIMIZERS``.
        activation: Name in ``activations.ACTIVATIONS``.
        norm: Name in ``normalization.NORMS``.
        depth: Hidden layers.
        narrower: What the width of the settings is divided by.
    """

    label: str
    largest_rate: float
    optimizer: str = "sgd"
    activation: str = "relu"
    norm: str = "none"
    depth: int = 3
    narrower: int = 1

    @property
    def frozen(self) -> bool:
        """Whether a dead unit of layer 1 stays as it is, exactly: relu, no norm, plain gradient descent."""
        return (self.optimizer, self.activation, self.norm) == ("sgd", "relu", "none")


RECTIFIERS = {
    "sgd": Rectifier("SGD", 4.0),
    "heavy_ball": Rectifier("SGD with momentum", 1.0, optimizer="heavy_ball"),
    "adagrad": Rectifier("Adagrad", 4.0, optimizer="adagrad"),
    "rmsprop": Rectifier("RMSProp", 0.4, optimizer="rmsprop"),
    "adam": Rectifier("Adam", 0.4, optimizer="adam"),
    "leaky_relu": Rectifier("leaky relu", 4.0, activation="leaky_relu"),
    "elu": Rectifier("ELU", 4.0, activation="elu"),
    "batch_norm": Rectifier("batch norm, relu", 32.0, norm="batch"),
    "deep": Rectifier("8 layers", 4.0, depth=8),
    "narrow": Rectifier("quarter width", 4.0, narrower=4),
}


def require_rectifiers(names: tuple[str, ...]) -> None:
    """Raise InputError for the first unknown name; the message gives the nearest one."""
    require_known("network", names, RECTIFIERS)
