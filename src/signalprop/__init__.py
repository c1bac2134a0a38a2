"""signalprop: measure and predict why gradients vanish or explode, and what cures it."""

from signalprop.bench.cli.door import experiments, figures, load, run

__all__ = ["experiments", "figures", "load", "run"]
__version__ = "0.1.0"
