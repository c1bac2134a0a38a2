"""The experiments, one file each, in the order of the story."""

EXPERIMENTS = (
    "activation-slopes",
    "matrix-product",
    "layer-profiles",
    "sigmoid-saturation",
    "phase-diagram",
    "correlation",
    "jacobian-spectrum",
)
