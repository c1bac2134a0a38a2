"""What theory predicts for normalized and residual blocks: the topic ``growth`` of ``signalprop theory``."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.analysis import growth
from signalprop.bench.engine.grid import require_count
from signalprop.bench.theory.prediction import Number, Prediction, find_activation, require_scales
from signalprop.models.activations import Activation


@dataclass(frozen=True)
class Growth:
    """Growth of a squared gradient through normalized and residual blocks, per block and over a depth."""

    activation: str = "relu"
    """Name, or module:name of a callable of your own."""
    sigma_w: float = math.sqrt(2)
    """Scale of the first weights of a residual branch W_2 phi(W_1 x); W_2 has scale 1."""
    batch_size: int = 128
    """Examples that batch norm averages over, at least 4."""
    width: int = 256
    """Units N of a layer; well above the examples, for what typical networks with batch norm show."""
    depth: int = 64
    """Number of blocks."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.growth`."""
        require_scales(self.sigma_w)
        require_count("--batch-size", (self.batch_size,), least=4)
        require_count("--width", (self.width,), least=4)  # else 1 / variance of a layer norm has no mean
        require_count("--depth", (self.depth,))
        phi = find_activation(self.activation)
        gains, logs = jax.jit(partial(self._logs, phi))()
        typical = growth.batch_norm_typical_factor(phi, self.batch_size, self.width)
        logs[f"{self._in_batches}, typical at N = {self.width}"] = self.depth * jnp.log(typical)
        logs = dict(sorted(logs.items()))
        total = np.array([float(value) for value in logs.values()]).round(12) + 0.0
        columns = {
            "block": list(logs),
            "factor_per_block": np.exp(total / self.depth),
            "decades_of_norm": total / 2 / np.log(10),
        }
        values: dict[str, Number] = {
            "branch_signal_gain": float(gains.mean_square),
            "branch_gradient_gain": float(gains.gradient_factor),
        }
        if self.batch_size < growth.HEAVY_BATCH:
            values["batch_norm"] = (
                f"below B = {growth.HEAVY_BATCH} the mean factor has an infinite variance, as 1 / variance "
                f"exceeds x as often as x^-{(self.batch_size - 1) / 2:g}; networks show the typical factor"
            )
        return Prediction(values, columns)

    @property
    def _in_batches(self) -> str:
        return f"phi(BatchNorm(W x)), B = {self.batch_size}"

    def _logs(self, phi: Activation) -> tuple[growth.Gains, dict[str, jax.Array]]:
        """Gains of the branch, and growth of log |gradient|^2 over all blocks."""
        depth, gains = self.depth, growth.branch_gains(phi, 1.0, self.sigma_w)
        in_batches = growth.batch_norm_factor(phi, self.batch_size)
        at_width = growth.layer_norm_factor(phi, self.width)
        logs = {
            "phi(LayerNorm(W x))": depth * jnp.log(growth.layer_norm_factor(phi)),
            f"phi(LayerNorm(W x)), N = {self.width}": depth * jnp.log(at_width),
            self._in_batches: depth * jnp.log(in_batches),
            "phi(BatchNorm(W x)), B = inf": depth * jnp.log(growth.batch_norm_factor(phi)),
            "x + F(LayerNorm(x))": growth.pre_layer_norm(depth, *gains).log_gradient[0],
            "LayerNorm(x + F(x))": depth * jnp.log(growth.post_layer_norm_factor(*gains)),
        }
        if phi.homogeneous:
            scales = {"x + F(x)": 1.0, "x + F(x) / sqrt(L)": depth**-0.5, "x + F(x) / L": 1 / depth}
            rho = gains.gradient_factor
            logs |= {name: growth.log_residual(rho, scale, depth) for name, scale in scales.items()}
        return gains, logs
