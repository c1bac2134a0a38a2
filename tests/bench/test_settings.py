"""Every numeric setting of every experiment refuses 0 and -1 in one line, unless it is listed here."""

from dataclasses import fields, replace
from typing import Any

import pytest

from signalprop.bench.experiments import EXPERIMENTS, find

MAY_BE_ZERO = {
    "activation-slopes": {"sigma_w"},
    "matrix-product": {"spectrum_width"},
    "layer-profiles": {"weight_std"},
    "phase-diagram": {"sigma_b", "skip"},
    "correlation": {"sigma_w", "sigma_b", "maps", "q_0", "c_0"},
    "normalization": {"skipped"},
    "recurrent-eigenvalues": {"input_std"},
    "gradient-by-lag": {"forget_bias", "gated_gain"},
    "edge-of-chaos-rnn": {"noise", "settle", "align", "spectrum_width"},
    "carousel": {"forget_bias", "gain", "input_scale"},
    "learned-gates": {"forget_bias"},
    "long-lag-tasks": {"clip_norm"},
    "born-dead": {"ratio"},
    "dead-relu": {"centred", "bias", "success"},
    "frozen-layers": {"share"},
    "stuck-or-solved": {"penalty"},
    "learning-speed": {"decay"},
    "he-training": {"momentum"},
    "activation-race": {"momentum"},
    "trainability": {"sigma_b"},
    "learning-rate-or-depth": {"sigma_w2"},
    "loss-landscape": {"sigma_w2"},
    "pretraining": {"noise"},
    "clipping": {"gain"},
}
MAY_BE_NEGATIVE = {
    "gradient-by-lag": {"forget_bias"},
    "carousel": {"forget_bias"},
    "learned-gates": {"forget_bias"},
    "dead-relu": {"bias"},
}


def changed(value: Any, number: int) -> Any:
    """A number, or the first of some, replaced; None of what holds no numbers."""
    if isinstance(value, tuple) and value:
        first = changed(value[0], number)
        return None if first is None else (first, *value[1:])
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value)(number) if is_number else None


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_zero_and_negative_settings_are_refused_in_one_line_or_mean_something(name: str) -> None:
    experiment = find(name)
    settings = experiment.sizes["quick"]
    accepted: dict[int, set[str]] = {0: set(), -1: set()}
    for field in fields(settings):
        for number in accepted:
            value = changed(getattr(settings, field.name), number)
            if value is None or field.name == "seed":
                continue
            for each in (value, value[:1]) if isinstance(value, tuple) else (value,):
                try:
                    experiment.grid(replace(settings, **{field.name: each}))
                    accepted[number].add(field.name)
                except ValueError as error:
                    said = str(error).replace("-", "_")
                    assert "\n" not in said
                    assert field.name in said or "got" in said, said
    assert accepted == {0: MAY_BE_ZERO.get(name, set()), -1: MAY_BE_NEGATIVE.get(name, set())}


@pytest.mark.parametrize("name", ["normalization", "residual"])
def test_statistics_over_units_need_four_of_them(name: str) -> None:
    with pytest.raises(ValueError, match="width: got 3; write a whole number of at least 4"):
        replace(find(name).sizes["quick"], width=3)
