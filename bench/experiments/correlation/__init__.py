r"""How far do length, correlation and gradient reach into a random network?

Inputs of several lengths, pairs of several cosines and one pair of real examples pass through the same square
network (weights of variance sigma_w^2 / N, biases of standard deviation sigma_b). Measured in every layer:
the length q = mean z^2, the cosine c of a pair's pre-activations, the mean over the root mean square of the
activities, and the back-propagated gradient |delta|.

Theory: one map for q and one for c give every layer (Poole et al., arXiv 1606.05340, figures 1 and 2, at
sigma_b = 0.3). Their fixed points are approached as exp(-l / xi_q) and exp(-l / xi_c), and |delta|^2 changes
as exp(-l / xi_grad) towards the input, 1 / xi_grad = -log chi_1 (Schoenholz et al., arXiv 1611.01232, at
sigma_b^2 = 0.05). xi_c = xi_grad in the ordered phase only. Both diverge on the critical line, where the laws
are powers of the depth: 1 - c goes as 9 pi^2 / (2 l^2) for relu and as 1 / l for tanh, and at sigma_b = 0 the
length of tanh goes as 1 / (2 l).

Compared are layers up to N / 16: further on, the scatter of finite networks adds up, that of c above all.
"""

from dataclasses import dataclass, replace

import numpy as np

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.models.names import ACTIVATIONS

DENSE = (0.8, 0.9, *np.sqrt([1.0, 1.1, 1.25, 1.4, 1.5, 1.6, 1.7]).round(4).tolist(), 1.327)
DENSE += tuple(np.sqrt([1.85, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0]).round(4).tolist())
MAPS = ((1.3, 0.3), (2.5, 0.3), (4.0, 0.3))  # Poole's three: ordered, chaotic, strongly chaotic
XAVIER, HE = (1.0, 0.0), (2**0.5, 0.0)


@dataclass(frozen=True)
class Settings:
    """Settings of ``correlation``."""

    activation: tuple[str, ...] = ("tanh",)
    """Activations, one compilation each; depth scales and maps are those of the first."""
    sigma_w: tuple[float, ...] = (1.0, 1.049, 1.118, 1.183, 1.225, 1.327, 1.5, 1.581, 1.732, 1.871, 2.0)
    """Weight scales at which depth scales are measured; 1.327 is critical for tanh at sigma_b^2 = 0.05."""
    sigma_b: tuple[float, ...] = (0.2236,)
    """Standard deviations of the biases there."""
    maps: tuple[tuple[float, float], ...] = (*MAPS, XAVIER, HE)
    """Pairs of sigma_w and sigma_b measured besides: those of the drawn maps, Xavier's and He's."""
    q_0: tuple[float, ...] = (0.02, 0.2, 1.0, 4.0)
    """Mean squares of the inputs whose length is followed."""
    c_0: tuple[float, ...] = (0.0, 0.5, 0.9)
    """Cosines of the Gaussian pairs."""
    data: str = "digits"
    """Data set whose first two examples are a pair too."""
    width: int = 256
    """Units N of every layer."""
    depth: int = 24
    """Layers L."""
    seeds: int = 16
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_scale("sigma_w", self.sigma_w)
        require_scale("sigma_b", self.sigma_b)
        require_scale("maps", [scale for pair in self.maps for scale in pair])
        require_scale("q_0", self.q_0)
        require_count("width", [self.width])
        require_count("depth", [self.depth], 4)
        require_count("seeds", [self.seeds], 2)
        if not all(-1 < c < 1 for c in self.c_0):
            raise ValueError(f"c_0: got {self.c_0}; write cosines between -1 and 1")


PAPER = Settings(
    activation=("tanh", "relu", "sigmoid"), sigma_w=DENSE, c_0=(0.0, 0.25, 0.5, 0.75, 0.95),
    q_0=(0.02, 0.1, 0.3, 1.0, 2.0, 4.0), width=1000, depth=100, seeds=100,
)  # fmt: skip
SIZES = {"quick": Settings(), "standard": replace(PAPER, width=512, depth=48, seeds=50), "full": PAPER}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_q": Variable(("q_0", "layer"), "log of the mean squared pre-activation", "nats"),
        "distance": Variable(("pair", "layer"), "1 - c of a pair of inputs"),
        "log_delta": Variable(("layer",), "log of |delta^l| / |delta^L|", "nats"),
        "centre": Variable(("layer",), "mean over root mean square of the activities"),
    },
)
