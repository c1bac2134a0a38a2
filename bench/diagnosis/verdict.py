"""What was found in a network, and the verdict."""

from dataclasses import dataclass

from signalprop.analysis.diagnosis.layers import Measured
from signalprop.analysis.diagnosis.rule import Finding
from signalprop.bench.diagnosis import words

NOT_CHECKED = (
    "labels and data beyond their scale", "learning-rate schedule", "regularization",
    "insides of cond and while",
)  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """A diagnosis.

    Attributes:
        measured: All numbers, with natural logs.
        findings: What the gates found, the cause first; borderline ones among them.
        dtype: The narrowest dtype of the parameters.
        notes: What was assumed.
    """

    measured: Measured
    findings: tuple[Finding, ...]
    dtype: str
    notes: tuple[str, ...]

    @property
    def finding(self) -> Finding | None:
        """The first finding that is not borderline."""
        return next((x for x in self.findings if not x.borderline), None)

    @property
    def cause(self) -> str:
        """One word of `rule.CAUSES`."""
        return self.finding.cause if self.finding else "fine"

    @property
    def verdict(self) -> str:
        """The cause in one sentence."""
        return words.sentence(self.finding, self.measured, self.dtype)
