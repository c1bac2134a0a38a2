"""The topics of ``signalprop theory``.

Every topic is a dataclass of its options; ``predict`` gives numbers by name and, where there are many of a
kind, a table. Nothing is measured here.
"""

from signalprop.bench.theory.gated import GatedField, Memory
from signalprop.bench.theory.matrix import Eigenvalues, FiniteWidth, MatrixProduct, Spectrum
from signalprop.bench.theory.network import CriticalLine, Dropout, Growth, MeanField, Precision, Profile
from signalprop.bench.theory.recurrent import Lyapunov
from signalprop.bench.theory.recurrent_bounds import Recurrent

Topic = (
    MeanField
    | Profile
    | CriticalLine
    | MatrixProduct
    | Eigenvalues
    | Spectrum
    | FiniteWidth
    | Growth
    | Dropout
    | Precision
    | Recurrent
    | Lyapunov
    | Memory
    | GatedField
)
TOPICS: dict[str, type[Topic]] = {
    "mean-field": MeanField,
    "profile": Profile,
    "critical-line": CriticalLine,
    "matrix-product": MatrixProduct,
    "eigenvalues": Eigenvalues,
    "spectrum": Spectrum,
    "finite-width": FiniteWidth,
    "growth": Growth,
    "dropout": Dropout,
    "precision": Precision,
    "recurrent": Recurrent,
    "lyapunov": Lyapunov,
    "memory": Memory,
    "gated": GatedField,
}
