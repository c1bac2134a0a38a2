"""The topics of ``signalprop theory``.

Every topic is a dataclass of its options; ``predict`` gives numbers by name and, where there are many of a
kind, a table. Nothing is measured here.
"""

from signalprop.bench.gated_theory import GatedField, Memory
from signalprop.bench.matrix_theory import Eigenvalues, FiniteWidth, MatrixProduct, Spectrum
from signalprop.bench.network_theory import CriticalLine, Dropout, Growth, MeanField, Precision, Profile
from signalprop.bench.recurrent_bounds import Recurrent
from signalprop.bench.recurrent_theory import Lyapunov

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
