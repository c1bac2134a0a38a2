"""The experiments, one folder each, by chapter and in the order of the story; each with its question.

Reading the list imports no experiment. A new one is a folder beside this file and a line here; one in a file
of a user's own is found as ``module:name``.
"""

import re
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.experiment import SIZES, Experiment
from signalprop.models.lookup import imported

CHAPTERS = {
    "Feed-forward networks at initialization": {
        "activation-slopes": "How large is the slope of an activation, and does a gradient shrink by it in every layer?",
        "matrix-product": "Does a long product of random matrices explode, vanish, or both at once?",
        "initialization-eigenvalues": "Where do the eigenvalues and singular values of a freshly initialized layer lie?",
        "layer-profiles": "How many decades does a gradient lose, for each activation and initialization?",
        "sigmoid-saturation": "When does a layer of sigmoids saturate, and do its gradients become zero?",
        "phase-diagram": "Which initializations make gradients vanish, and which make them explode?",
        "correlation": "How far do length, correlation and gradient reach into a random network?",
        "jacobian-spectrum": "Which singular values has the Jacobian of a deep network, and does orthogonality save it?",
        "free-probability": "Does free probability foretell the whole Jacobian spectrum, and can depth leave it alone?",
        "finite-width": "How far does one network's gradient stray when every layer preserves its mean square?",
    },
    "Structure and precision": {
        "normalization": "Does normalization cure exploding and vanishing gradients?",
        "residual": "Do skip connections pass the gradient without loss, and which residual networks explode?",
        "depth-limits": "How deep can a plain network be before its signal or its gradient is lost?",
        "attention": "Where do gradients of a transformer vanish: at pre-LN or post-LN, and when tokens collapse?",
        "precision": "Where does floating point end a gradient that mathematics keeps?",
    },
    "Recurrent networks": {
        "power-iteration": "Does the largest eigenvalue decide how a recurrent signal grows?",
        "recurrent-eigenvalues": "Do the eigenvalues of recurrent weights tell whether gradients vanish or explode?",
        "gradient-by-lag": "How much of a gradient is left k steps before the loss, in every kind of recurrent cell?",
        "edge-of-chaos-rnn": "When do gradients of a random recurrent network explode in time, and what does input change?",
        "carousel": "What keeps the gradient of an LSTM: the carousel, its gates, or the paths around it?",
        "learned-gates": "Does a trained LSTM keep its gradient where the task needs it, by its gates?",
        "long-lag-tasks": "Which recurrent networks learn to use what they saw many steps ago?",
        "flossing": "Does pushing Lyapunov exponents to zero make a recurrent network learn?",
    },
    "Training": {
        "born-dead": "How often is a relu network dead before training, and is it still dead after it?",
        "dead-relu": "When do units die in training, and do they come back?",
        "zero-gradient-plateau": "What leaves a plateau where the gradient is exactly zero?",
        "frozen-layers": "Which layers go on learning when one of them passes no gradient?",
        "stuck-or-solved": "Is a network whose gradient is small stuck, or has it solved its task?",
        "learning-speed": "Do the layers near the input learn more slowly than those near the output?",
        "xavier-training": "What do the activations of sigmoid, tanh and softsign networks do while they learn?",
        "he-training": "Why do deep relu networks stall with Xavier's weights, and what exactly was lost?",
        "activation-race": "Which activation learns fastest at equal criticality, and does relu's zero slope help?",
        "trainability": "How deep can a network be and still be trained?",
        "learning-time": "Does it take longer to train a deeper network?",
        "depth-budget": "Which of six limits on depth binds first, and does the smallest predict what can be trained?",
        "adam-epsilon": "How deep does Adam reach with a smaller epsilon?",
        "learning-rate-or-depth": "Is it the learning rate or the depth that makes training diverge?",
        "loss-landscape": "Does batch norm make the loss smoother along the gradient, and training faster?",
    },
    "Remedies": {
        "pretraining": "What does greedy pretraining change: the gradient, saturation, or the optimum that is found?",
        "clipping": "What does clipping do to gradients that explode, and what do penalties do?",
        "remedy-league": "Which remedies make a network trainable whose gradients vanish or explode?",
        "memory-league": "Which remedies make a recurrent network learn what it must remember for 50 steps?",
    },
}
FILES = ("__init__.py", "measure.py", "theory.py", "verdicts.py", "figures.py")
QUESTIONS = {name: question for chapter in CHAPTERS.values() for name, question in chapter.items()}
EXPERIMENTS = tuple(QUESTIONS)
FOLDERS = ("runs", "quick", "custom", "throughput")  # of results, which no experiment may claim


def find(name: str) -> Experiment:
    """The experiment of that name, or a user's own as ``module:name``.

    Raises:
        InputError: If it is not in the list, its folder is not whole, or what ``module:name`` names is not an
            experiment; the message says what to write.
    """
    if ":" in name:
        return _outside(name)
    folder = Path(__file__).parent / name.replace("-", "_")
    lacking = [file for file in FILES if not (folder / file).is_file()]
    if name not in QUESTIONS:
        hint = (
            nearest(name, EXPERIMENTS)
            if lacking
            else f"its folder is there: add it to CHAPTERS in {__file__}"
        )
        raise InputError(f"no experiment {name!r}; {hint}")
    if lacking:
        raise InputError(f"experiment {name!r} is in the list; write {', '.join(lacking)} in {folder}")
    experiment: Experiment = import_module(f"{__name__}.{folder.name}").EXPERIMENT
    return experiment


def _outside(spec: str) -> Experiment:
    """The experiment that a user's own module defines."""
    try:
        found = imported("experiment", spec, object)
    except ValueError as error:
        raise InputError(str(error)) from error
    if why := _why_unusable(found):
        raise InputError(f"experiment {spec!r}: {why}")
    own: Experiment = replace(found, origin=spec)
    return own


def _why_unusable(found: Any) -> str:
    """What is wrong with something as an experiment; empty if nothing is."""
    if not isinstance(found, Experiment):
        return f"is of type {type(found).__name__}; write an Experiment of signalprop.bench.experiment"
    if found.name in EXPERIMENTS:
        return f"its name {found.name!r} is that of an experiment of the suite; give it another one"
    if found.name in FOLDERS or not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", found.name):
        return f"got the name {found.name!r}; write small letters and digits joined by hyphens"
    if lacking := [size for size in SIZES if size not in found.sizes]:
        return f"sizes lack {', '.join(lacking)}; write settings for each of {', '.join(SIZES)}"
    for size, settings in found.sizes.items():
        if not is_dataclass(settings) or not {"seed", "dtype"} <= {field.name for field in fields(settings)}:
            return f"size {size} is not a dataclass with seed and dtype; write one"
        try:
            hash(settings)
        except TypeError:
            return (
                f"settings of size {size} can change; write a frozen dataclass of numbers, words and tuples"
            )
    return ""
