"""Verdicts of ``zero-gradient-plateau``: which routes lead out, and what curvature can do."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from signalprop.analysis.plateau import oscillation_threshold
from signalprop.bench.experiments.zero_gradient_plateau.escapes import SECOND
from signalprop.bench.experiments.zero_gradient_plateau.plateaus import POSITIVE, RATE
from signalprop.bench.experiments.zero_gradient_plateau.routes import MOMENTUM, ROUTES
from signalprop.bench.record.verdict import Verdict, judge, judge_zero

REST = ("sgd", "heavy_ball_rest", "adam_rest")
MEMORY = ("ball_moving", "nesterov_moving", "adam_moving_10", "adam_moving", "ball_killed")
ALIKE = ("l2_all", "adamw_all", "ball_l2_slow", "l2_weights")
UNLIKE = ("l2_rising", "adamw_rising", "ball_l2_fast", "adam_l2")
NORMS = ("batch_norm", "layer_norm", "batch_norm_low", "batch_norm_limit")
NEWTON = ("newton", "saddle_free")
ADAM = "Kingma & Ba (2014), arXiv:1412.6980"
POLYAK = "Polyak (1964), USSR Comput. Math. 4(5)"
IOFFE = "Ioffe & Szegedy (2015), arXiv:1502.03167; Samuelson (1968), J. Am. Stat. Assoc. 63"
DAUPHIN = "Dauphin et al. (2014), arXiv:1406.2572"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the routes, the solved losses and the saddles."""
    return [
        *_plateau(result),
        *_memory(result),
        *_decay(result),
        *_norms(result),
        *_newton(result),
        *_solved(result),
        *_saddles(result),
    ]


def _run(result: xr.Dataset, wanted: Sequence[str]) -> xr.Dataset | None:
    """The result at those of the wanted routes that were run; None if there are none."""
    names = [name for name in wanted if name in result["route"].values]
    return result.sel(route=names) if names else None


def _counted(at: xr.Dataset) -> str:
    """How many instances of each route escape, in words."""
    total = at.sizes["seed"] * at.sizes["instance"]
    each = [f"{_plain(str(n))} {int(np.isfinite(at['escape'].sel(route=n)).sum())}"
            for n in at["route"].values]  # fmt: skip
    return f"escapes of {total}: " + "; ".join(each)


def _plain(name: str) -> str:
    """A route's label without mathematical type."""
    words = {r"\eta\lambda": "rate x decay", r"\,": " ", r"\sqrt": "sqrt ", r"\gamma": "gamma "}
    label = ROUTES[name].label
    for symbol, word in words.items():
        label = label.replace(symbol, word)
    return " ".join(re.sub(r"[\\${}]", "", label).split())


def _same_step(at: xr.Dataset) -> dict[str, Any]:
    """Share of instances whose escape is at the predicted step, or predicted never and never."""
    same = (at["escape"] == at["foreseen"]).mean(("seed", "instance"))
    return {"measured": same, "predicted": 1.0, "tolerance": 0.0,
            "tolerance_from": "every instance, at the exact step"}  # fmt: skip


def _plateau(result: xr.Dataset) -> list[Verdict]:
    """No gradient, nothing moves by itself, and the output bias goes on."""
    flat = result["slope"].sel(unit="relu")
    found = [
        judge_zero(
            ["B17", "B27"], "Largest derivative of the loss by a weight or bias of a relu layer with W x + "
            f"b < 0 on all examples, {flat.size} instances",
            "chain rule", flat,
        )
    ]  # fmt: skip
    resting = _run(result, REST)
    if resting is not None:
        found.append(judge_zero(
            ["B18", "B34"], "Largest change of a weight or bias of the silent layer under SGD, heavy ball "
            f"and Adam without memory, over {result.sizes['step']} steps and all instances", "zero gradient",
            resting["moved"], claim="right after repair",
            correction="The silent layer never changes again by plain gradient descent, or momentum and Adam "
            "at rest, while its inputs are fixed. The output bias goes on learning; memory, unequal decay, "
            "noise and norms can move the layer.",
        ))  # fmt: skip
    noisy = _run(result, ("noise",))
    if noisy is not None:
        found.append(judge(
            ["B18"], f"Weight noise walks a silent layer freely ({_counted(noisy)}): share of instances "
            "where the sum of the draws predicts the step", "sum of the noise", claim="right after repair",
            correction="A zero gradient stops the loss from acting, not what is added beside it.",
            **_same_step(noisy),
        ))  # fmt: skip
    if "sgd" in result["route"].values:
        found.append(_output_bias(result))
    return found


def _output_bias(result: xr.Dataset) -> Verdict:
    """What goes on learning above a silent layer."""
    logit = float(result["base_rate_logit"])
    rate = RATE * POSITIVE * (1 - POSITIVE)
    left = abs(logit) * (1 - rate) ** result.sizes["step"]
    return judge(
        ["B18"], "Output bias of the network above a silent layer after SGD: it learns the logit of "
        "the base rate, and nothing else",
        "log(p / (1 - p))", measured=result["output_bias"].sel(route="sgd"),
        predicted=logit, tolerance=1.05 * left + 1e-12,
        tolerance_from="what is left of an exponential approach of rate eta p (1 - p)",
        claim="right after repair", correction="Hidden weights and biases get no gradient; the output bias "
        "does.",
    )  # fmt: skip


def _memory(result: xr.Dataset) -> list[Verdict]:
    """Momentum and Adam coast, by known distances."""
    at = _run(result, MEMORY)
    if at is None:
        return []
    predicted, known = at["coasting_predicted"], at["coasting"].notnull()
    found = [
        judge(
            ["B19"], f"Momentum and Adam with something to remember, {_counted(at)}: share of instances that "
            "leave the dead region at the step that coasting predicts, or never as predicted",
            f"{POLYAK}; {ADAM}",
            claim="right after repair", correction="It carries a unit on by mu / (1 - mu) last steps at "
            "most, whichever way they point: out in some instances, not in others, and from rest never. The "
            "step that silenced a layer points deeper.", **_same_step(at),
        ),
        judge(
            ["B19"], "Largest error of a weight's predicted displacement after the gradient has vanished",
            f"{POLYAK}; {ADAM}", measured=at["coasting_off"].max(("seed", "instance")), predicted=0.0,
            tolerance=1e-10, tolerance_from="rounding in float64",
        ),
    ]  # fmt: skip
    if bool(known.any()):
        mean = at["coasting"].mean(("seed", "instance"))
        some = mean.notnull()
        left = 10 * (MOMENTUM / SECOND**0.5) ** at.sizes["step"]
        found.append(judge(
            ["B19"], "Whole displacement in units of the step that memory asks for first: "
            + "; ".join(f"{_plain(str(n))} {float(p):.4f}"
                        for n, p in zip(at["route"].values, predicted.values, strict=True)),
            "mu / (1 - mu), mu^2 / (1 - mu), and r / (1 - r) with r = b1 / sqrt(b2)",
            measured=mean[some], predicted=predicted[some], tolerance=left + 1e-10,
            tolerance_from="what is left to coast after the last step", claim="right after repair",
            correction="Adam coasts 9.045 first steps, not b1 / (1 - b1) = 9: its second moment fades too. "
            "Soon after its start bias correction leaves less, 1.477 at step 10.",
        ))  # fmt: skip
    return found


def _decay(result: xr.Dataset) -> list[Verdict]:
    """Decay of weights and biases, alike and unlike."""
    found = []
    alike, unlike = _run(result, ALIKE), _run(result, UNLIKE)
    law = "Loshchilov & Hutter (2017), arXiv:1711.05101; (1 - eta lambda)^t"
    if alike is not None:
        found.append(judge(
            ["B20"], "Decay of weights and biases alike, or of weights under negative biases "
            f"({_counted(alike)}): share of instances that never leave, as predicted", law, claim="wrong",
            correction="Decaying w and b alike multiplies w x + b by (1 - eta lambda)^t: it shrinks and "
            "never changes sign. With b < 0 and decay of w alone it tends to b.", **_same_step(alike),
        ))  # fmt: skip
    if unlike is not None:
        threshold = float(oscillation_threshold(MOMENTUM))
        found.append(judge(
            ["B20"], f"Decay that does revive ({_counted(unlike)}): share of instances that leave at the "
            "predicted step", f"{law}; {POLYAK}", claim="right after repair",
            correction="Decay revives a unit if w decays and b > 0 does not, after log(b / |w x|) / log(1 - "
            f"eta lambda) steps; if heavy ball overshoots, eta lambda > (1 - sqrt mu)^2 = {threshold:.5f}; "
            "or in Adam's gradient, where all weights walk to 0 at one speed.", **_same_step(unlike),
        ))  # fmt: skip
    return found


def _norms(result: xr.Dataset) -> list[Verdict]:
    """Layers awake by a norm before the relu."""
    at = _run(result, NORMS)
    if at is None:
        return []
    return [
        judge(
            ["B21"], f"A norm before the relu ({_counted(at)}): share of instances awake from the start, or "
            "never: by theorem under batch norm with shift 0 and -sqrt(B - 1), else as the standardised w x "
            "of the start say", IOFFE, claim="right after repair",
            correction="With shift 0 some example lies above the batch mean, so no unit is dead. A learnt "
            "shift can still kill: surely below -sqrt(B - 1) gains.", **_same_step(at),
        )
    ]  # fmt: skip


def _newton(result: xr.Dataset) -> list[Verdict]:
    """No curvature either where the network is locally constant."""
    flat = {name: result[name].sel(unit=["relu", "binary_step"]) for name in ("slope", "curvature")}
    where = f"by the weights of silent relu units and of binary steps, {result.sizes['seed']} instances each"
    found = [
        judge_zero(
            ["B26", "B27"], f"Largest derivative of the loss {where}", "the network is locally constant",
            flat["slope"],
        ),
        judge_zero(
            ["B38"], f"Largest second derivative of the loss {where}", "the network is locally constant",
            flat["curvature"], claim="wrong",
            correction="Where the function is locally constant every derivative is zero, the second as well.",
        ),
    ]  # fmt: skip
    at = _run(result, NEWTON)
    if at is not None:
        found.append(judge_zero(
            ["B38"], "Largest change of a silent layer under damped and saddle-free Newton steps", DAUPHIN,
            at["moved"], claim="wrong",
            correction="Curvature moves nothing on the plateau of relu or a step.",
        ))  # fmt: skip
    return found


def _solved(result: xr.Dataset) -> list[Verdict]:
    """Losses whose own derivative is zero."""
    return [
        judge_zero(
            ["B25", "B29"], "Largest derivative by any parameter of an awake network where the loss is "
            "solved: squared error at an exact fit, hinge beyond all margins", "chain rule",
            result["solved_slope"],
            claim="right after repair", correction="A unit with zero slope is passed by; where the loss "
            "itself has zero slope nothing that follows gradients moves, solved or not.",
        )
    ]  # fmt: skip


def _saddles(result: xr.Dataset) -> list[Verdict]:
    """Smooth saddles and the slow sigmoid."""
    at = result.isel(seed=0)
    order, depth = xr.broadcast(at["order"], at["chain"])
    # Of (t^L - 1)^2 / 2 the first derivative at 0 that is not 0 is that of order L.
    derivative = order.copy(data=-special.factorial(order.values)).where(order == depth, 0.0)
    measured, derivative = xr.broadcast(at["chain_derivative"].where(order <= depth), derivative)
    low = measured.notnull().values
    slow = at["sigmoid_steps"] / at["sigmoid_steps_predicted"]
    walks, foreseen = xr.broadcast(at["chain_steps"], at["chain_steps_predicted"])
    certain = foreseen.notnull().values
    left_out = f", without {np.sum(~certain)} that rounding decides" * bool(np.sum(~certain))
    return [
        judge(
            ["B38"], "Steps to leave x^2 - y^2 from 1e-6 beside its ridge: gradient descent, damped Newton, "
            "saddle-free Newton", DAUPHIN, measured=at["ridge_steps"], predicted=at["ridge_steps_predicted"],
            tolerance=0.0, tolerance_from="the exact step", claim="right after repair",
            correction="At a smooth saddle of second order the absolute curvature helps (20 steps instead "
            "of 76); plain Newton is drawn into the saddle and never leaves.",
        ),
        judge(
            ["B38"], "Steps to leave the saddle of a chain of 2 to 5 factors, three methods, two starts"
            f"{left_out}", "the same step on the one shared factor", measured=walks.values[certain],
            predicted=foreseen.values[certain], tolerance=0.0, tolerance_from="the exact step",
            claim="right after repair", correction="Beside a saddle of order L saddle-free Newton is "
            "faster the deeper the chain, until its curvature falls below the damping.",
        ),
        judge(
            ["B38"], "Derivatives of a chain of L factors at the origin, up to order L",
            "Kawaguchi (2016), arXiv:1605.07110", measured=measured.values[low],
            predicted=derivative.values[low], tolerance=0.0, tolerance_from="exact",
            claim="right after repair", correction="At the origin itself gradient and, for L > 2, Hessian "
            "are 0: the first derivative that is not is of order L.",
        ),
        judge(
            ["B23"], "Steps of gradient descent for a sigmoid unit to climb from b = -1 to -8 up to 0, over "
            "the time of gradient flow divided by the rate",
            "db/dt = S (1 - S)^2", measured=slow, predicted=1.0,
            tolerance=1 / at["sigmoid_steps_predicted"] + 0.005,
            tolerance_from="one step, and the next order in the rate", claim="right after repair",
            correction="Slow, not stuck: about e^|b| / rate steps, until the slope rounds to 0.",
        ),
    ]  # fmt: skip
