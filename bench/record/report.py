"""The report: a table of claims in Markdown and one self-contained HTML page."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from signalprop.bench.engine.errors import StoreError
from signalprop.bench.experiments import CHAPTERS, EXPERIMENTS, QUESTIONS
from signalprop.bench.record import league_table, verdict
from signalprop.bench.record.claims import CLAIMS, Claim
from signalprop.bench.record.verdict import Agreement, Standing, Verdict

SEVERITY: tuple[Standing, ...] = ("not checkable", "right", "right after repair", "wrong")


@dataclass(frozen=True)
class Section:
    """One experiment on the page."""

    name: str
    question: str
    figures: list[tuple[str, str]]
    verdicts: list[Verdict]


@dataclass(frozen=True)
class Answer:
    """One claim with the verdicts that answer it, each with the name of its experiment."""

    claim: Claim
    verdicts: list[tuple[str, Verdict]]

    @property
    def standing(self) -> Standing:
        """The severest of the verdicts' judgements of the claim."""
        return max((v.claim for _, v in self.verdicts), key=SEVERITY.index, default="not checkable")

    @property
    def correction(self) -> str:
        """How the claim should read, by the first verdict of that standing that says it, or why none can."""
        said = [v.correction for _, v in self.verdicts if v.claim == self.standing and v.correction]
        return said[0] if said else self.claim.aside

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments that answer it."""
        return list(dict.fromkeys(name for name, _ in self.verdicts))

    @property
    def agreement(self) -> str:
        """How many of its verdicts agree with theory, disagree, or have none."""
        found = [v.agreement for _, v in self.verdicts]
        return ", ".join(f"{found.count(a)} {a}" for a in get_args(Agreement) if a in found) or "no verdict"


def write(folder: Path) -> list[Path]:
    """Write ``README.md`` and ``report.html`` into a folder with one subfolder per experiment.

    Raises:
        StoreError: If the folder holds no verdicts or cannot be written.
    """
    found = [name for name in EXPERIMENTS if (folder / name / "verdicts.json").exists()]
    if not found:
        raise StoreError(f"no verdicts under {folder}; start with: signalprop reproduce")
    sections = [_section(folder, name) for name in found]
    chapters = {
        title: [section for section in sections if section.name in questions]
        for title, questions in CHAPTERS.items()
        if any(section.name in questions for section in sections)
    }
    answers = _answers(sections)
    environment = Environment(
        loader=PackageLoader("signalprop.bench.record", "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["cell"] = lambda text: str(text).replace("|", r"\|").replace("\n", " ")
    written = []
    for template, name in (("README.md.jinja", "README.md"), ("report.html.jinja", "report.html")):
        path = folder / name
        text = environment.get_template(template).render(
            sections=sections,
            chapters=chapters,
            answers=answers,
            count=_count,
            league=league_table.markdown(folder),
        )
        try:
            path.write_text(text)
        except OSError as error:
            raise StoreError(f"cannot write {path} ({error.strerror})") from error
        written.append(path)
    return written


def _section(folder: Path, name: str) -> Section:
    images = sorted((folder / name).glob("*.svg"))
    figures = [(p.stem, base64.b64encode(p.read_bytes()).decode()) for p in images]
    return Section(name, QUESTIONS[name], figures, verdict.read(folder / name / "verdicts.json"))


def _answers(sections: list[Section]) -> list[Answer]:
    by_claim: dict[str, list[tuple[str, Verdict]]] = {c.id: [] for c in CLAIMS}
    for section in sections:
        for judged in section.verdicts:
            for claim_id in judged.claims:
                by_claim[claim_id].append((section.name, judged))
    return [Answer(c, by_claim[c.id]) for c in CLAIMS if by_claim[c.id] or c.aside]


def _count(sections: list[Section], agreement: str) -> int:
    return sum(v.agreement == agreement for s in sections for v in s.verdicts)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
