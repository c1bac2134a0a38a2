"""signalprop: measure and predict why gradients vanish or explode, and what cures it."""

from typing import TYPE_CHECKING, Any

from signalprop.bench.cli.door import experiments, figures, load, run

if TYPE_CHECKING:
    from signalprop.bench.diagnosis.diagnose import DiagnoseError, diagnose

__all__ = ["DiagnoseError", "diagnose", "experiments", "figures", "load", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the diagnosis, and JAX with it, when it is asked for."""
    if name in {"DiagnoseError", "diagnose"}:
        from signalprop.bench.diagnosis import diagnose as door

        return getattr(door, name)
    raise AttributeError(f"module 'signalprop' has no attribute {name!r}")
