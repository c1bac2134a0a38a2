"""The topics of ``signalprop theory``, each with what it predicts.

A topic is a dataclass of its options; ``predict`` gives numbers by name and, where there are many of a
kind, a table. Nothing is measured here. Reading the list imports no topic, and so no JAX.
"""

from importlib import import_module
from typing import Any, NamedTuple


class Topic(NamedTuple):
    """Where a topic's options stand in this wing, and what it predicts: the first line of their docstring."""

    options: str
    predicts: str


TOPICS = {
    "mean-field": Topic(
        "network.MeanField",
        "Fixed point of length and correlation, susceptibilities and depth scales of a wide network.",
    ),
    "profile": Topic(
        "network.Profile",
        "Length q of the signal, factor chi_1 and gradient of every layer, for an input of mean square q_0.",
    ),
    "critical-line": Topic(
        "network.CriticalLine",
        "Weight scale at which gradients neither grow nor decay (chi_1 = 1), for every bias scale.",
    ),
    "matrix-product": Topic(
        "matrix.MatrixProduct",
        "Exponents of a product of Gaussian matrices, its critical scales and the law of one column.",
    ),
    "eigenvalues": Topic(
        "matrix.Eigenvalues",
        "One large Gaussian matrix: its eigenvalues and singular values, at infinite and at this width.",
    ),
    "spectrum": Topic(
        "matrix.Spectrum",
        "Squared singular values of the Jacobian of a wide network: moments, edge, atoms and density.",
    ),
    "finite-width": Topic(
        "matrix.FiniteWidth",
        "Law of log |J u|^2 of a relu network at He variance: exact, and its wide limit.",
    ),
    "growth": Topic(
        "growth.Growth",
        "Growth of a squared gradient through normalized and residual blocks, per block and over a depth.",
    ),
    "dropout": Topic(
        "network.Dropout",
        "A layer with inverted dropout: length, chi_1, and the correlation of one input under two masks.",
    ),
    "precision": Topic(
        "precision.Precision",
        "Depth at which a product of equal factors is lost in each number format, rounded after each factor.",
    ),
    "recurrent": Topic(
        "recurrent_bounds.Recurrent",
        "Radii, bounds and exponents of one recurrent weight matrix, and what each rule makes of them.",
    ),
    "lyapunov": Topic(
        "recurrent.Lyapunov",
        "Lyapunov exponents of a wide random recurrent network, with its dimension and entropy.",
    ),
    "memory": Topic(
        "gated.Memory",
        "How long a forget gate keeps a state, by its bias: constant, random and chrono-initialized gates.",
    ),
    "gated": Topic(
        "gated.GatedField",
        "Mean field of a gated cell whose weights are drawn anew at every step; real LSTMs differ.",
    ),
}


def find_options(topic: str) -> type[Any]:
    """The dataclass of a topic's options; its ``predict`` returns a ``prediction.Prediction``."""
    module, _, name = TOPICS[topic].options.partition(".")
    options: type[Any] = getattr(import_module(f"signalprop.bench.theory.{module}"), name)
    return options
