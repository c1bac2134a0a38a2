"""Names of data sets, number formats and what is measured with, known without JAX.

The tables behind them stand in ``data``, ``spectra`` and ``rounding``; a test holds every table to its names.
"""

DATA_SETS = ("digits", "mnist", "fashion_mnist", "cifar10")
INPUTS = ("gaussian", *DATA_SETS, *(f"{name}_raw" for name in DATA_SETS))
FORMATS = ("float16", "bfloat16", "float32", "float64")
FORMS = ("fast", "exact")
VARIANTS = ("sigmoid_symmetric", "maximum", "gelu_tanh", "log_softmax_loss", "softplus_loss")
UNSIGNED = "qr_unsigned"  # the popular wrong recipe for orthogonal matrices
NILPOTENT = "nilpotent"  # recurrent weights whose square is exactly 0
