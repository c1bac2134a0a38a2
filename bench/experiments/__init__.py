"""The experiments, one folder each, by chapter and in the order of the story; each with its question.

Reading the list imports no experiment. A new one is a folder beside this file and a line here.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from signalprop.bench.engine.errors import InputError, nearest

if TYPE_CHECKING:
    from signalprop.bench.experiment import Experiment

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


def find(name: str) -> "Experiment":
    """The experiment of that name.

    Raises:
        InputError: If it is not in the list, or its folder is not whole; the message says what to write.
    """
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
