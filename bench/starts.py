"""The starts of the experiment ``he-training``: scales of weights and input, and whether biases learn."""

from typing import NamedTuple


class Start(NamedTuple):
    """How a relu network of L hidden layers begins.

    Attributes:
        label: For people.
        sigma_w: Square root of fan_in times the variance of the weights.
        power: The input is multiplied by 2^(power L / 2).
        bias_rate: Factor of the biases' learning rate; 0 freezes them.
    """

    label: str
    sigma_w: float
    power: float
    bias_rate: float


STARTS = {
    "xavier": Start("Xavier", 1.0, 0.0, 1.0),
    "he": Start("He", 2**0.5, 0.0, 1.0),
    "xavier_rescaled": Start(r"Xavier, input $\times 2^{L/2}$", 1.0, 1.0, 1.0),
    "xavier_frozen": Start("Xavier, biases frozen", 1.0, 0.0, 0.0),
}
