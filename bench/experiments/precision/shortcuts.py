"""Popular shortcuts to singular values in float64, and how far they are off: J J^T, plain SVD, one QR sweep.

Deterministic but for fixed draws, and the same at every setting of an experiment.
"""

import numpy as np

from signalprop.analysis.randommatrix import finite_depth_correction
from signalprop.bench.measure.estimates import mean_and_error
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor

EPS = float(np.finfo("float64").eps)
WRONG = 0.1  # relative error from which on a singular value is called lost
GRADES = np.arange(0, 18, 0.25)  # decades below the largest singular value
PRODUCTS, FACTORS, WIDTH = 400, 60, 6


def verdicts() -> list[Verdict]:
    """Judge what each shortcut resolves and where it is biased."""
    by_svd, by_square = resolved_decades()
    gap = qr_gaps()
    mean, error = mean_and_error(gap)
    return [
        judge(
            ["C4"], "Decades below the largest at which a singular value is wrong by a tenth: those by the "
            f"eigenvalues of J J^T over the {by_svd:.1f} by SVD, as the square takes half of the digits",
            "relative error below eps s_1/s_i for SVD, and eps (s_1/s_i)^2 for J J^T",
            measured=by_square / by_svd, predicted=0.5, tolerance=0.05,
            tolerance_from="grades of 0.25 decades, and a factor of ten between the constants of both errors",
        ),
        judge(
            ["C4"], f"Products of {FACTORS} Gaussian {WIDTH} x {WIDTH} factors: log s_1 less the sum of "
            "log |r_11| of one QR sweep, which estimates exponents and not singular values at any depth",
            "(psi(N/2) - psi(1/2)) / 2, from minors of a Haar matrix",
            measured=mean, predicted=float(finite_depth_correction(WIDTH)[0]),
            uncertainty=error, tolerance=sampling_factor(1, gap.size) * error,
            tolerance_from=f"five standard errors of {gap.size} products",
        ),
    ]  # fmt: skip


def resolved_decades() -> tuple[float, float]:
    """Grade at which half of the matrices have lost a singular value: by SVD, and by forming J J^T."""
    rng, lost = np.random.default_rng(0), []
    for _ in range(24):
        left, right = (np.linalg.qr(rng.normal(size=(GRADES.size, GRADES.size)))[0] for _ in range(2))
        matrix = left * 10.0**-GRADES @ right
        squares = np.linalg.eigvalsh(matrix @ matrix.T)[::-1]
        found = np.linalg.svd(matrix, compute_uv=False), np.sqrt(np.maximum(squares, 0))
        lost.append([GRADES[np.argmax(abs(values * 10.0**GRADES - 1) > WRONG)] for values in found])
    by_svd, by_square = np.median(lost, axis=0)
    return float(by_svd), float(by_square)


def qr_gaps() -> np.ndarray:
    """Log of the largest singular value of Gaussian products less the sum of log |r_11| of a QR sweep."""
    rng, shape = np.random.default_rng(1), (PRODUCTS, WIDTH, WIDTH)
    basis = product = np.broadcast_to(np.eye(WIDTH), shape)
    log_scale, sweep = np.zeros(PRODUCTS), np.zeros(PRODUCTS)
    for _ in range(FACTORS):
        factor = rng.normal(size=shape)
        basis, upper = np.linalg.qr(factor @ basis)
        sweep += np.log(abs(upper[:, 0, 0]))
        product = factor @ product
        size = np.linalg.norm(product, axis=(1, 2))
        product, log_scale = product / size[:, None, None], log_scale + np.log(size)
    gaps: np.ndarray = log_scale + np.log(np.linalg.norm(product, 2, axis=(1, 2))) - sweep
    return gaps
