r"""What leaves a plateau where the gradient is exactly zero?

A relu layer with W x + b < 0 on every example gets no gradient, and no curvature. Many random instances, the
same start for every route out (``routes.py``): plain gradient descent, momentum and Adam with and without
something to remember, weight decay of four kinds, noise, norms before the relu, two Newton methods. Each is
the suite's own optimizer run on the network, beside the closed form that knows no network
(`analysis.plateau`), instance by instance.

Then the places where curvature or patience would help: smooth saddles of second and higher order, a sigmoid
that is only slow (``saddles.py``); and losses whose own derivative is zero.

Sources: Polyak (1964), USSR Comput. Math. 4(5) (heavy ball); Kingma & Ba (2014), arXiv:1412.6980 (Adam);
Loshchilov & Hutter (2017), arXiv:1711.05101 (decoupled decay); Ioffe & Szegedy (2015), arXiv:1502.03167
(batch normalisation); Samuelson (1968), J. Am. Stat. Assoc. 63; Dauphin et al. (2014), arXiv:1406.2572
(saddle-free Newton); Kawaguchi (2016), arXiv:1605.07110 (saddles of deep linear networks).
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.experiments.zero_gradient_plateau.routes import ROUTES


@dataclass(frozen=True)
class Settings:
    """Settings of ``zero-gradient-plateau``."""

    route: tuple[str, ...] = tuple(ROUTES)
    """Routes out of the plateau, of ``routes.py``."""
    instances: int = 4
    """Random starts per seed."""
    steps: int = 150
    """Steps of every route."""
    examples: int = 256
    """Examples of the plateau."""
    features: int = 8
    """Features of an example."""
    units: int = 16
    """Hidden units, all silent."""
    seeds: int = 2
    """Seeds, each with its own instances."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("route", self.route, ROUTES)
        for axis in ("instances", "steps", "features", "units"):
            require_count(axis, (getattr(self, axis),))
        require_count("examples", (self.examples,), least=2)


SIZES = {
    "quick": Settings(),
    "standard": Settings(instances=10, steps=200, seeds=20),
    "full": Settings(instances=20, steps=1000, seeds=50),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "escape": Variable(
            ("instance", "route"), "first step after which a unit is awake; inf: none", "steps"
        ),
        "foreseen": Variable(("instance", "route"), "the same by closed form", "steps"),
        "moved": Variable(("instance", "route"), "largest change of a hidden weight where none escapes"),
        "off": Variable(("instance", "route"), "largest error of the predicted highest w x + b until then"),
        "coasting": Variable(("instance", "route"), "displacement in first steps of the memory"),
        "coasting_off": Variable(("instance", "route"), "largest error of a predicted displacement"),
        "accuracy": Variable(("instance", "route"), "share of right answers at the end"),
        "output_bias": Variable(("instance", "route"), "output bias at the end"),
        "highest": Variable(("route", "step"), "highest w x + b of the first instance"),
        "highest_foreseen": Variable(("route", "step"), "the same by closed form"),
        "slope": Variable(("unit",), "largest derivative by a hidden weight on the plateau"),
        "curvature": Variable(("unit",), "largest second derivative by hidden weights on the plateau"),
        "solved_slope": Variable(("loss",), "largest derivative of a loss that is solved"),
        "ridge_steps": Variable(("descent",), "steps to leave the ridge of x^2 - y^2", "steps"),
        "chain_steps": Variable(("chain", "chain_start", "descent"), "steps to leave the saddle", "steps"),
        "chain_derivative": Variable(("chain", "order"), "derivatives at the origin along (1, ..., 1)"),
        "chain_hessian": Variable(("chain",), "largest second derivative at the origin"),
        "sigmoid_steps": Variable(("sigmoid_start",), "steps of gradient descent to b = 0", "steps"),
    },
)
