"""House style of the figures: theory as lines, measurements as points with error bars.

Readable in print and by colour-blind readers: seaborn's colourblind palette, a marker and a line style
of its own for every series, no information carried by colour alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import ArrayLike

from signalprop.analysis.statistics import share_interval

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d", "8", "H")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
KINDS = ("png", "svg")
UNDATED: dict[str, dict[str, None]] = {  # what would differ from one writing to the next
    ".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None},
}  # fmt: skip
SEQUENTIAL, DIVERGING = "viridis", "vlag"
WIDTH = 7.2  # inches: two columns of a paper

STYLE: dict[Any, Any] = {
    "figure.figsize": (WIDTH, WIDTH / 2),
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "signalprop",
    "pdf.fonttype": 42,  # TrueType: many publishers refuse Type 3
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "errorbar.capsize": 1.5,
    "axes.grid": True,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.5,
    "figure.constrained_layout.use": True,
}


@contextmanager
def style(width: float = WIDTH, dpi: int = STYLE["savefig.dpi"]) -> Iterator[None]:
    """Draw in the house style inside this context; nothing global changes outside it.

    Args:
        width: Of every figure, in inches. In narrow ones panels and legends have fewer columns.
        dpi: Dots per inch of what is written as pixels.
    """
    with mpl.rc_context(), sns.axes_style("ticks", {"axes.grid": True}):
        mpl.rcParams.update({**STYLE, "figure.figsize": (width, width / 2), "savefig.dpi": dpi})
        with plt.ioff():
            yield


def _fitting(columns: int) -> int:
    """As many columns as the width of the figures has room for, if the house's has for all of them."""
    return max(1, round(columns * min(1.0, float(mpl.rcParams["figure.figsize"][0]) / WIDTH)))


def canvas(
    rows: int = 1, columns: int = 1, *, height: float = 2.6, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of the style's width with an array of axes, each row ``height`` inches."""
    size = (mpl.rcParams["figure.figsize"][0], height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **subplots)
    return figure, axes


def panels(names: Sequence[str], columns: int = 3, **more: Any) -> tuple[Figure, dict[str, Axes]]:
    """A figure with one titled panel per name, at most ``columns`` in a row; ``more`` as of ``canvas``."""
    columns = _fitting(min(columns, len(names)))
    figure, grid = canvas(-(-len(names) // columns), columns, **more)
    for spare in grid.ravel()[len(names) :]:
        spare.set_visible(False)
    by_name = dict(zip(names, grid.ravel(), strict=False))
    for name, axes in by_name.items():
        axes.set_title(name)
    return figure, by_name


def legend(figure: Figure, *axes: Axes, where: str = "lower", **more: Any) -> None:
    """One legend outside the panels, ``lower``, ``upper`` or ``right``, with every label of the axes once."""
    found: dict[str, Any] = {}
    for one in axes:
        handles, labels = one.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True)) | found
    place: Any = "outside right center" if where == "right" else f"outside {where} center"
    figure.legend(
        list(found.values()), list(found), loc=place, **more | {"ncols": _fitting(more.get("ncols", 1))}
    )


def series(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style of each named series, the same in every panel."""
    colours = sns.color_palette("colorblind", max(10, len(names)))
    return {
        name: {"color": colours[i], "marker": MARKERS[i % len(MARKERS)], "linestyle": DASHES[i % len(DASHES)]}
        for i, name in enumerate(names)
    }


def theory(
    axes: Axes, x: ArrayLike, y: ArrayLike, look: Mapping[str, Any] | None = None, **more: Any
) -> None:
    """Draw a prediction as a line."""
    kept = {k: v for k, v in (look or {"color": "0.2", "linestyle": "-"}).items() if k != "marker"}
    axes.plot(np.asarray(x), np.asarray(y), **{"zorder": 2, **kept, **more})


def measured(
    axes: Axes,
    x: ArrayLike,
    mean: ArrayLike,
    error: ArrayLike | None = None,
    look: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """Draw measurements as points with error bars of one standard error over networks."""
    kept = {k: v for k, v in (look or {"color": "0.2", "marker": "o"}).items() if k != "linestyle"}
    bars = None if error is None else np.asarray(error)
    face = {"markerfacecolor": "white", "markeredgewidth": 0.9, "elinewidth": 0.8}
    axes.errorbar(
        np.asarray(x),
        np.asarray(mean),
        yerr=bars,
        **{"linestyle": "none", "zorder": 3, **face, **kept, **more},
    )


def shares(
    axes: Axes,
    x: ArrayLike,
    counts: ArrayLike,
    total: int,
    look: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """Draw shares of ``total`` networks as points with their exact 95 % intervals."""
    number = np.asarray(counts, int)
    ends = np.array([share_interval(int(k), total) for k in number]).T
    measured(axes, x, number / total, np.abs(ends - number / total), look, **more)


def fit_titles(figure: Figure) -> None:
    """Break titles that are too wide between words: for the figure, and in a narrow one for the panels.

    A layout leaves room for the height of a title and none for its width, so that it would be cut or run into
    the next one. Formulas stay whole. Panels of the house's width are looked at when results are committed.
    """
    width = figure.bbox.width
    for text in figure.texts:
        _break(text, 0.995 * width)
    if figure.get_figwidth() >= WIDTH:
        return
    figure.draw_without_rendering()  # places the panels
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec is not None:
            columns = np.array(spec.get_gridspec().get_width_ratios())
            centre = float(axes.bbox.x0 + axes.bbox.x1) / 2
            share = float(columns[list(spec.colspan)].sum() / columns.sum())
            _break(axes.title, min(share * width, 2 * centre, 2 * (width - centre)))


def _break(text: Text, room: float) -> None:
    """Break a text into lines of at most `room` pixels, where its words allow it."""

    def fits(words: str) -> bool:
        text.set_text(words)
        return bool(text.get_window_extent().width <= room)

    whole = text.get_text()
    if fits(whole):
        return
    lines = [""]
    for word in re.findall(r"(?:\$[^$]*\$|\S)+", whole):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and not fits(longer):
            lines.append(word)
        else:
            lines[-1] = longer
    text.set_text("\n".join(lines))


def save(figure: Figure, folder: Path, name: str, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Write a figure in every format, laid out once; the same figure gives the same bytes."""
    fit_titles(figure)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in kinds]
    for path in paths:
        figure.savefig(path, metadata=UNDATED[path.suffix])
        figure.set_layout_engine("none")
    plt.close(figure)
    return paths
