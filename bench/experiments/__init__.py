"""The experiments, one file each, in the order of the story."""

EXPERIMENTS = (
    "activation-slopes",
    "matrix-product",
    "initialization-eigenvalues",
    "layer-profiles",
    "sigmoid-saturation",
    "phase-diagram",
    "correlation",
    "jacobian-spectrum",
    "free-probability",
    "finite-width",
    "normalization",
    "residual",
    "depth-limits",
    "attention",
    "precision",
)
