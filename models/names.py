"""Names of activations, schemes, cells and pretrained units, known without JAX.

The tables behind them stand in ``activations``, ``initializers``, ``cells`` and ``pretraining``; a test holds
every table to its names.
"""

ACTIVATIONS = (
    "linear", "sigmoid", "tanh", "hard_tanh", "softsign", "relu", "leaky_relu", "elu", "selu", "gelu", "silu",
    "softplus", "erf", "sin", "binary_step",
)  # fmt: skip
SCHEMES = (
    "normal_001", "uniform_standard", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal",
    "he_leaky", "lecun_normal", "haar_orthogonal", "identity", "gaussian", "orthogonal", "scaled_identity",
    "smart_tanh",
)  # fmt: skip
CELLS = (
    "tanh", "sigmoid", "relu", "linear", "tanh_orthogonal", "relu_orthogonal", "irnn", "tanh_identity",
    "smart_tanh", "lstm_1997", "lstm_1997_full", "lstm", "lstm_peephole", "gru", "gru_before", "minimal_rnn",
)  # fmt: skip
UNITS = ("linear", "sigmoid", "tanh")
