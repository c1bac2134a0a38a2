"""What the two leagues share: the kinds of remedies, and the median of what is not lost."""

import numpy as np

KINDS = ("failing", "initialisation", "activation", "architecture", "optimiser", "regulariser", "combination")


def median(values: np.ndarray) -> float:
    """Median of what is not NaN, infinities included; NaN if nothing is left."""
    kept = values[~np.isnan(values)]
    return float(np.median(kept)) if kept.size else float("nan")
