"""The house style: panels by name, one legend for all, shares with their intervals."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from signalprop.analysis.statistics import share_interval
from signalprop.bench.record import figures as draw


@pytest.fixture(autouse=True)
def in_style():
    """Draw in the house style, and leave no figure open."""
    with draw.style():
        yield
    plt.close("all")


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (4, 2, 3), (6, 2, 3)])
def test_every_name_has_a_panel_and_no_other_is_seen(count, rows, columns) -> None:
    names = [f"n{i}" for i in range(count)]
    figure, panels = draw.panels(names, height=2.0)
    assert {name: axes.get_title() for name, axes in panels.items()} == {name: name for name in names}
    assert sum(axes.get_visible() for axes in figure.axes) == count
    assert len(figure.axes) == rows * columns
    np.testing.assert_allclose(figure.get_size_inches(), (draw.WIDTH, 2.0 * rows))


def test_a_legend_names_every_label_once_and_lies_outside() -> None:
    figure, panels = draw.panels(["a", "b"], height=2.0)
    for axes in panels.values():
        axes.plot([0, 1], label="theory")
    panels["b"].plot([1, 0], label="only here")
    draw.legend(figure, *panels.values(), ncols=2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["theory", "only here"]
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert all(box.y1 <= axes.get_window_extent().y0 for axes in panels.values())


def test_shares_have_their_exact_intervals() -> None:
    _, panels = draw.panels(["a"], height=2.0)
    draw.shares(panels["a"], [0, 1, 2], [0, 3, 8], 8)
    (bars,) = panels["a"].containers
    ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
    np.testing.assert_allclose(ends, [share_interval(k, 8) for k in (0, 3, 8)], atol=1e-12)


def test_titles_wider_than_their_figure_or_panel_are_broken_between_words() -> None:
    title = r"A title of many words, with a formula $\log |\delta^1| / |\delta^L|$ that must stay whole"
    with draw.style(3.4):
        figure, panels = draw.panels(["a", "b"], 2, height=2.0)
        figure.suptitle(title, fontsize=9)
        panels["a"].set_title("networks that learnt of those that were scored, at one rate")
        draw.fit_titles(figure)
        figure.canvas.draw()
        (above,) = figure.texts
        lines = above.get_text().split("\n")
        assert len(lines) > 1
        assert " ".join(lines) == title
        assert sum(r"$\log |\delta^1| / |\delta^L|$" in line for line in lines) == 1
        box = above.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        panel = panels["a"].title.get_window_extent()
        assert "\n" in panels["a"].get_title()
        assert panel.x0 >= 0
        assert panel.x1 <= figure.bbox.x1
        assert panel.y1 <= box.y0
    wide, ((axes,),) = draw.canvas()
    axes.set_title("short")
    draw.fit_titles(wide)
    assert axes.get_title() == "short"
