"""The networks of the experiment ``xavier-training``: activation, initialisation, and the read-out's bias."""

from typing import NamedTuple

PHIS = ("sigmoid", "tanh", "softsign")
SCHEMES = ("uniform_standard", "glorot_uniform")


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
