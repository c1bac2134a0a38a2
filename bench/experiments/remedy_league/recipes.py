"""The remedy league as data: two networks that fail, and what each remedy changes about them.

One rule for every entry: an initialisation remedy keeps the activation of the failing network, an activation
remedy brings a critical initialisation of its own, and all others keep activation and sigma_w. Two entries
that come to the same network are trained once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, sqrt
from typing import Any

from signalprop.bench.engine.grid import require_known

SGD, MOMENTUM, ADAGRAD, ADAPTIVE = 1.0, 0.1, 0.1, 0.01  # units of the learning rate
LARGE, HUGE = 1e2, 1e4


@dataclass(frozen=True)
class Recipe:
    """A network and its optimizer.

    Attributes:
        activation: Name in ``models.activations``.
        architecture: Name in ``ARCHITECTURES``.
        optimizer: Name in ``bench.training.optimizers``; gradient descent is ``heavy_ball`` without momentum.
        scheme: ``gaussian``, ``orthogonal``, or ``lsuv`` (arXiv 1511.06422), which sets its own scale.
        sigma_w: Scale of the weights.
        sigma_b: Standard deviation of the biases.
        branch_power: The residual branch is multiplied by depth to the power of minus this.
        momentum: Of heavy ball, or Adam's b1.
        l2: Coefficient of the L2 penalty.
        l1: Coefficient of the L1 penalty.
        clip_norm: Largest norm of the gradient.
        unit: Learning rates are multiples of this, the same for all optimizers of a class.
    """

    activation: str
    sigma_w: float
    architecture: str = "plain"
    optimizer: str = "heavy_ball"
    scheme: str = "gaussian"
    sigma_b: float = 0.0
    branch_power: float = 0.0
    momentum: float = 0.0
    l2: float = 0.0
    l1: float = 0.0
    clip_norm: float = inf
    unit: float = SGD

    @property
    def structure(self) -> str:
        """What decides the compiled program; recipes of one structure train together."""
        return f"{self.activation} {self.architecture} {self.optimizer}"


@dataclass(frozen=True)
class Architecture:
    """Form of the hidden layers: their norm, skip connections, and a branch that starts at 0."""

    norm: str = "none"
    skip: bool = False
    starts_at_zero: bool = False
    two_layers: bool = False


ARCHITECTURES = {
    "plain": Architecture(),
    "batch_norm": Architecture(norm="batch"),
    "layer_norm": Architecture(norm="layer"),
    "residual": Architecture(skip=True),
    "rezero": Architecture(skip=True, starts_at_zero=True),  # arXiv 2003.04887
    "fixup": Architecture(skip=True, starts_at_zero=True, two_layers=True),  # arXiv 1901.09321
    "batch_norm_residual": Architecture(norm="batch", skip=True),
}


@dataclass(frozen=True)
class Entry:
    """One remedy.

    Attributes:
        label: For figures.
        kind: One of ``bench.record.league.KINDS``.
        term: What it changes, in the terms of the theory.
        change: Fields of the failing network's recipe that it replaces.
        exploding: The same where the exploding network needs other numbers.
    """

    label: str
    kind: str
    term: str
    change: Mapping[str, Any] = field(default_factory=dict)
    exploding: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = {
    "vanishing": Recipe("sigmoid", sigma_w=1.0),
    "exploding": Recipe("tanh", sigma_w=3.0),
}

CHI = "chi_1 = sigma_w^2 E phi'^2"
LN = "factor E phi'^2 / E phi^2"
BN = "factor E phi'^2 / Var phi"
RESIDUAL = "factor 1 + alpha^2 rho"
STEP = "step size; factors as without it"
PENALTY = "loss; factors as without it"

# Critical points (sigma_w, sigma_b) with chi_1 = 1: the smallest length at sigma_b = 0 where there is one
# above 0, else at sigma_b^2 = 0.05; gelu at 0.5, where its critical length is stable.
SIGMOID = {"sigma_w": 10.149263710019532}
TANH = {"sigma_w": 1.3270096607058826, "sigma_b": sqrt(0.05)}
ELU = {"activation": "elu", "sigma_w": 1.2384338220669977, "sigma_b": sqrt(0.05)}
SELU = {"activation": "selu", "sigma_w": 0.9496135486429883, "sigma_b": sqrt(0.05)}
GELU = {"activation": "gelu", "sigma_w": 1.3998682164058203, "sigma_b": 0.5}
RELU = {"activation": "relu", "sigma_w": sqrt(2)}
ADAM = {"optimizer": "adam", "momentum": 0.9, "unit": ADAPTIVE}

REMEDIES = {
    "none": Entry("none", "failing", CHI),
    "xavier": Entry("Xavier", "initialisation", CHI, {"sigma_w": 1.0}),
    "he": Entry("He", "initialisation", CHI, {"sigma_w": sqrt(2)}),
    "orthogonal": Entry("orthogonal", "initialisation", CHI, {"sigma_w": 1.0, "scheme": "orthogonal"}),
    "critical": Entry("critical sigma_w", "initialisation", CHI, SIGMOID, TANH),
    "lsuv": Entry("LSUV", "initialisation", LN, {"scheme": "lsuv"}),
    "tanh": Entry("tanh, Xavier", "activation", CHI, {"activation": "tanh", "sigma_w": 1.0}),
    "relu_xavier": Entry("relu, Xavier", "activation", CHI, {"activation": "relu", "sigma_w": 1.0}),
    "relu": Entry("relu, He", "activation", CHI, RELU),
    "leaky_relu": Entry(
        "leaky relu, He", "activation", CHI, {"activation": "leaky_relu", "sigma_w": sqrt(2 / 1.0001)}
    ),
    "elu": Entry("elu, critical", "activation", CHI, ELU),
    "selu": Entry("selu, critical", "activation", CHI, SELU),
    "gelu": Entry("gelu, critical", "activation", CHI, GELU),
    "batch_norm": Entry("batch norm", "architecture", BN, {"architecture": "batch_norm"}),
    "layer_norm": Entry("layer norm", "architecture", LN, {"architecture": "layer_norm"}),
    "residual": Entry("residual", "architecture", RESIDUAL, {"architecture": "residual"}),
    "residual_root": Entry(
        "residual / sqrt(L)", "architecture", RESIDUAL, {"architecture": "residual", "branch_power": 0.5}
    ),
    "rezero": Entry("ReZero", "architecture", RESIDUAL, {"architecture": "rezero"}),
    "fixup": Entry("Fixup", "architecture", RESIDUAL, {"architecture": "fixup"}),
    "momentum": Entry("momentum 0.9", "optimiser", STEP, {"momentum": 0.9, "unit": MOMENTUM}),
    "adagrad": Entry("Adagrad", "optimiser", STEP, {"optimizer": "adagrad", "unit": ADAGRAD}),
    "rmsprop": Entry("RMSProp", "optimiser", STEP, {"optimizer": "rmsprop", "unit": ADAPTIVE}),
    "adam": Entry("Adam", "optimiser", STEP, ADAM),
    "large_rates": Entry("rates x 100", "optimiser", STEP, {"unit": LARGE}),
    "huge_rates": Entry("rates x 10,000", "optimiser", STEP, {"unit": HUGE}),
    "clip_norm": Entry("norm clipping at 1", "optimiser", STEP, {"clip_norm": 1.0}),
    "l2": Entry("L2, 0.001", "regulariser", PENALTY, {"l2": 1e-3}),
    "l1": Entry("L1, 0.0001", "regulariser", PENALTY, {"l1": 1e-4}),
    "critical_adam": Entry(
        "critical sigma_w + Adam", "combination", CHI, {**SIGMOID, **ADAM}, {**TANH, **ADAM}
    ),
    "relu_batch_norm": Entry(
        "relu, He + batch norm", "combination", BN, {**RELU, "architecture": "batch_norm"}
    ),
    "batch_norm_residual": Entry(
        "batch norm + residual", "combination", RESIDUAL, {"architecture": "batch_norm_residual"}
    ),
}  # fmt: skip


def recipe(network: str, remedy: str) -> Recipe:
    """What is trained for a remedy on a failing network.

    Raises:
        InputError: If a name is unknown; the message offers the nearest one.
    """
    require_known("network", (network,), NETWORKS)
    require_known("remedy", (remedy,), REMEDIES)
    entry = REMEDIES[remedy]
    change = entry.exploding if network == "exploding" and entry.exploding else entry.change
    return replace(NETWORKS[network], **change)


def groups(networks: Sequence[str], remedies: Sequence[str]) -> dict[str, tuple[Recipe, ...]]:
    """The different recipes of a league, by structure, in order of first appearance."""
    found: dict[str, list[Recipe]] = {}
    for network in networks:
        for remedy in remedies:
            one = recipe(network, remedy)
            same = found.setdefault(one.structure, [])
            if one not in same:
                same.append(one)
    return {structure: tuple(same) for structure, same in found.items()}


def place(found: Mapping[str, Sequence[Recipe]], wanted: Recipe) -> tuple[int, int]:
    """Where a recipe stands in its league: the number of its structure, and its own within that."""
    return list(found).index(wanted.structure), list(found[wanted.structure]).index(wanted)
