"""signalprop: measure and predict why gradients vanish or explode, and what cures it."""

__version__ = "0.1.0"
