"""Shortcuts to singular values: what they resolve, and their bias against exact singular values."""

import numpy as np

from signalprop.analysis import products
from signalprop.bench.experiments.precision import shortcuts


def test_both_shortcuts_are_off_by_what_is_predicted():
    assert [v.agreement for v in shortcuts.verdicts()] == ["agrees", "agrees"]


def test_the_exact_form_resolves_what_both_shortcuts_lose():
    grades, rng = shortcuts.GRADES[::4], np.random.default_rng(2)
    left, right = (np.linalg.qr(rng.normal(size=(grades.size, grades.size)))[0] for _ in range(2))
    found = products.log_singular_values([right, np.diag(10.0**-grades), left])
    np.testing.assert_allclose(found, -np.log(10) * grades, atol=1e-9)
