"""Popular claims about vanishing and exploding gradients, their sources, and the experiments that answer.

A statement says what its source claims, in our words, whether or not it is true: the verdicts judge it. The
claims lie beside this file, one TOML file per chapter with the ids as keys.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

CHAPTERS = ("saturation", "rectifiers", "depth", "recurrent")


@dataclass(frozen=True)
class Claim:
    """One popular statement.

    Attributes:
        id: Chapter letter and number, such as "A8".
        statement: What the source claims, in our words.
        source: The public texts that make the claim.
        experiments: Names of the experiments that answer it.
        aside: Why no experiment can answer it; empty where one does.
    """

    id: str
    statement: str
    source: str
    experiments: tuple[str, ...] = ()
    aside: str = ""


def _read(folder: Path) -> tuple[Claim, ...]:
    """The claims of all chapters in their order; a key that is no attribute of a claim raises TypeError."""
    sources = tomllib.loads((folder / "sources.toml").read_text())
    found = []
    for chapter in CHAPTERS:
        for id, entry in tomllib.loads((folder / f"{chapter}.toml").read_text()).items():
            source = "; ".join(sources[name] for name in entry.pop("sources"))
            experiments = tuple(entry.pop("experiments", ()))
            found.append(Claim(id, source=source, experiments=experiments, **entry))
    return tuple(found)


CLAIMS = _read(Path(__file__).parent)
_BY_ID = {claim.id: claim for claim in CLAIMS}


def claim(id: str) -> Claim:
    """The claim with this id.

    Raises:
        ValueError: No claim has this id.
    """
    if id not in _BY_ID:
        raise ValueError(
            f"claim id {id!r} is unknown; write one of A1 to A25, B1 to B42, C1 to C32, D1 to D26"
        )
    return _BY_ID[id]
