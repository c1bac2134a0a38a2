"""Popular claims about vanishing and exploding gradients, their sources, and the experiments that answer.

A statement says what its source claims, in our words, whether or not it is true: the verdicts judge it. The
groups are: A, saturating activations and the chain rule; B, rectifiers, dead units and zero derivatives; C,
depth, initialisation and remedies; D, recurrent networks and the LSTM.
"""

from dataclasses import dataclass

KARPATHY = "Karpathy, 'Yes you should understand backprop' (2016), as retold in a translation"
EXCHANGE = "AI Stack Exchange 10158, 'How can a neural network learn when the derivative ... is 0?'"
DIVE = "Zhang, Lipton, Li, Smola, 'Dive into Deep Learning', 5.4, 'Numerical Stability and Initialization'"
DIVE_REMEDIES = "Study notes on 'Dive into Deep Learning', section 5.4: the list of remedies"
WEBERNA = "weberna.github.io, 'Why LSTMs Stop Your Gradients From Vanishing' (2017), with notes on it"
NIELSEN = "Nielsen, 'Neural Networks and Deep Learning', chapter 5, as retold in a list of remedies"
REMEDIES = "A widely copied list of remedies: pretraining, clipping, ReLU, BatchNorm, residual, LSTM"


@dataclass(frozen=True)
class Claim:
    """One popular statement.

    Attributes:
        id: Group letter and number, such as "A8".
        statement: What the source claims, in our words.
        source: The public text that makes the claim.
        experiments: Names of the experiments that answer it.
        aside: Why no experiment can answer it; empty where one does.
    """

    id: str
    statement: str
    source: str
    experiments: tuple[str, ...] = ()
    aside: str = ""


CLAIMS = (
    Claim("A1", "The sigmoid S satisfies S' = S (1 - S).", KARPATHY, ("activation-slopes", "precision")),
    Claim("A2", "The sigmoid's slope is zero at the inputs 0 and 1.", KARPATHY, ("activation-slopes",)),
    Claim(
        "A3",
        "The sigmoid increases everywhere, strictly between 0 and 1.",
        KARPATHY,
        ("activation-slopes", "precision"),
    ),
    Claim(
        "A4",
        "Bad initialisation or unscaled input saturates sigmoids; gradients vanish and learning stops.",
        KARPATHY,
        ("sigmoid-saturation", "xavier-training"),
    ),
    Claim(
        "A5",
        "A larger weight matrix gives W x more variance: entries reach hundreds and z becomes binary.",
        KARPATHY,
        ("sigmoid-saturation",),
    ),
    Claim(
        "A6",
        "Once z is binary, z (1 - z) is zero, and so are the gradients of x and W.",
        KARPATHY,
        ("sigmoid-saturation",),
    ),
    Claim(
        "A7",
        "z (1 - z) lies in (0, 1/4] and is largest at z = 1/2.",
        KARPATHY,
        ("activation-slopes", "sigmoid-saturation"),
    ),
    Claim(
        "A8",
        "Each sigmoid on the way back multiplies the gradient by at most one quarter.",
        f"{KARPATHY}; {NIELSEN}",
        ("activation-slopes", "phase-diagram"),
    ),
    Claim(
        "A9",
        "Behind one saturated node every gradient is zero and no parameter is updated.",
        KARPATHY,
        ("layer-profiles", "sigmoid-saturation", "frozen-layers"),
    ),
    Claim(
        "A10",
        "Under plain gradient descent a sigmoid network's lower layers learn more slowly.",
        KARPATHY,
        ("layer-profiles", "learning-speed"),
    ),
    Claim(
        "A11",
        "The weight gradient vanishes too, because it is the outer product of z (1 - z) and x.",
        KARPATHY,
        ("sigmoid-saturation",),
    ),
    Claim(
        "A12",
        "The sigmoid's gradient vanishes for large and for small inputs.",
        DIVE,
        ("activation-slopes", "sigmoid-saturation"),
    ),
    Claim(
        "A13",
        "Through many sigmoid layers the gradient vanishes unless their inputs stay near zero.",
        DIVE,
        ("activation-slopes", "layer-profiles", "phase-diagram"),
    ),
    Claim(
        "A14",
        "Gradients vanish where the activation's slope is small, as with sigmoid or tanh.",
        DIVE_REMEDIES,
        ("layer-profiles", "correlation", "trainability"),
    ),
    Claim(
        "A15",
        "When gradients vanish it is the deeper layers that are not updated.",
        DIVE_REMEDIES,
        ("layer-profiles", "learning-speed"),
    ),
    Claim(
        "A16",
        "Vanishing makes steps too small to learn; exploding makes them too large to converge.",
        DIVE,
        ("learning-speed", "xavier-training", "he-training", "trainability", "adam-epsilon"),
    ),
    Claim(
        "A17",
        "The front layers' weights stay near their initial values even after long training.",
        NIELSEN,
        ("learning-speed",),
    ),
    Claim(
        "A18",
        "With two hidden layers, the second learns more slowly than the first.",
        NIELSEN,
        ("learning-speed",),
    ),
    Claim(
        "A19",
        "The chain rule for an early weight is a product of ratios, one of them a layer over itself.",
        REMEDIES,
        ("activation-slopes", "jacobian-spectrum"),
    ),
    Claim(
        "A20",
        "A layer's derivative is that of its activation: above 1 gradients explode, below 1 they vanish.",
        REMEDIES,
        ("activation-slopes", "matrix-product", "jacobian-spectrum"),
    ),
    Claim(
        "A21",
        "A sigmoid 'as loss function' has slope at most 0.25, so the chain-rule product vanishes.",
        REMEDIES,
        ("activation-slopes", "phase-diagram"),
    ),
    Claim(
        "A22", "The root cause of vanishing gradients is backpropagation itself.", REMEDIES, ("trainability",)
    ),
    Claim(
        "A23",
        "A deep network is a composition of layers, trained by descending a loss.",
        REMEDIES,
        aside="A definition: nothing to measure.",
    ),
    Claim(
        "A24",
        "The sigmoid was popular because it resembles a threshold.",
        DIVE,
        aside="History: no measurement of a network can tell.",
    ),
    Claim(
        "A25",
        "tanh' is at most 1 and in use mostly below, since its input is seldom exactly 0.",
        WEBERNA,
        ("activation-slopes",),
    ),
    Claim(
        "B1",
        "relu' is 1 for positive and 0 for negative input; relu saturates on the left only.",
        f"{KARPATHY}; {REMEDIES}",
        ("activation-slopes", "precision"),
    ),
    Claim(
        "B2",
        "relu relieves vanishing gradients and speeds convergence.",
        KARPATHY,
        ("he-training", "activation-race"),
    ),
    Claim(
        "B3",
        "With slope 1 gradients neither vanish nor explode, and all layers learn at one speed.",
        REMEDIES,
        ("layer-profiles", "jacobian-spectrum", "free-probability", "finite-width", "he-training"),
    ),
    Claim(
        "B4",
        "Deep networks of relu therefore suffer neither vanishing nor exploding gradients.",
        REMEDIES,
        ("finite-width", "he-training", "remedy-league"),
    ),
    Claim(
        "B5",
        "A unit whose output is 0 has zero weight gradient and is not updated.",
        KARPATHY,
        ("dead-relu",),
    ),
    Claim(
        "B6",
        "A relu unit dies from a bad initialisation or from one large update.",
        KARPATHY,
        ("born-dead", "dead-relu"),
    ),
    Claim("B7", "A dead relu unit stays dead for ever.", KARPATHY, ("born-dead", "dead-relu")),
    Claim(
        "B8",
        "A large part of a trained network, say 40 percent, can be dead on the whole training set.",
        KARPATHY,
        ("dead-relu",),
    ),
    Claim(
        "B9",
        "Units that die during training die of a learning rate that is too high.",
        REMEDIES,
        ("dead-relu",),
    ),
    Claim("B10", "Death by unlucky initialisation is rare.", REMEDIES, ("born-dead",)),
    Claim(
        "B11",
        "Xavier initialisation, a low learning rate and Adagrad prevent dead units.",
        REMEDIES,
        ("born-dead", "dead-relu"),
    ),
    Claim(
        "B12",
        "The output of relu is not centred at zero.",
        REMEDIES,
        ("activation-slopes", "layer-profiles", "correlation"),
    ),
    Claim(
        "B13",
        "Leaky relu, max(k x, x) with k = 0.01, 0.02 or learned, removes the zero region.",
        REMEDIES,
        ("dead-relu", "activation-race"),
    ),
    Claim("B14", "elu has no dead units.", REMEDIES, ("precision", "dead-relu")),
    Claim("B15", "elu's mean output is near zero.", REMEDIES, ("activation-race",)),
    Claim("B16", "relu is cheap to compute and makes training faster.", REMEDIES, ("activation-race",)),
    Claim(
        "B17",
        "If X W + B < 0 for every input, the loss has zero derivative with respect to W.",
        EXCHANGE,
        ("zero-gradient-plateau",),
    ),
    Claim(
        "B18",
        "Such a network learns nothing; a weight with zero gradient never changes again.",
        EXCHANGE,
        ("zero-gradient-plateau",),
    ),
    Claim(
        "B19",
        "Momentum can carry a unit out of the dead region if recent gradients were not zero.",
        EXCHANGE,
        ("dead-relu", "zero-gradient-plateau"),
    ),
    Claim(
        "B20", "Weight decay can move a unit out of the dead region.", EXCHANGE, ("zero-gradient-plateau",)
    ),
    Claim(
        "B21",
        "Batch normalisation before relu prevents the dead region.",
        EXCHANGE,
        ("dead-relu", "zero-gradient-plateau"),
    ),
    Claim(
        "B22", "The same happens to some percentage of units in ordinary training.", EXCHANGE, ("dead-relu",)
    ),
    Claim(
        "B23",
        "A sigmoid's gradient is never zero but can be small enough to stop learning.",
        EXCHANGE,
        ("sigmoid-saturation", "precision", "zero-gradient-plateau"),
    ),
    Claim("B24", "Such stuck states are hard to tell from a useful minimum.", EXCHANGE, ("stuck-or-solved",)),
    Claim(
        "B25",
        "Networks are designed to learn even where a unit's or the loss's slope is zero.",
        EXCHANGE,
        ("zero-gradient-plateau",),
    ),
    Claim(
        "B26",
        "The derivative is exactly zero for a binary step.",
        EXCHANGE,
        ("zero-gradient-plateau", "frozen-layers"),
    ),
    Claim(
        "B27",
        "The derivative is exactly zero for relu on negative input.",
        EXCHANGE,
        ("zero-gradient-plateau",),
    ),
    Claim(
        "B28", "The derivative is zero where floating point cannot represent it.", EXCHANGE, ("precision",)
    ),
    Claim(
        "B29",
        "The derivative is zero when the loss is zero.",
        EXCHANGE,
        ("precision", "zero-gradient-plateau"),
    ),
    Claim(
        "B30",
        "Products with a loss near zero round to zero, and learning slows to a halt.",
        EXCHANGE,
        ("precision",),
    ),
    Claim(
        "B31",
        "Because of rounding, learning either oscillates, often chaotically, or freezes.",
        EXCHANGE,
        ("precision",),
    ),
    Claim(
        "B32",
        "relu's zero derivative is intended and one reason for its fast training.",
        EXCHANGE,
        ("activation-race",),
    ),
    Claim(
        "B33",
        "Other units upstream of a silent unit change through the paths around it.",
        EXCHANGE,
        ("frozen-layers",),
    ),
    Claim(
        "B34",
        "If all derivatives of a layer are zero and nothing else acts, learning stops.",
        EXCHANGE,
        ("zero-gradient-plateau", "frozen-layers"),
    ),
    Claim(
        "B35",
        "Zeros across a layer affect only upstream layers; those downstream may converge.",
        EXCHANGE,
        ("frozen-layers",),
    ),
    Claim(
        "B36", "One unit with zero partial derivatives does not stop learning.", EXCHANGE, ("frozen-layers",)
    ),
    Claim(
        "B37",
        "A zero at one place of the Jacobian leaves useful directions elsewhere.",
        EXCHANGE,
        ("frozen-layers",),
    ),
    Claim(
        "B38",
        "The curvature lets upstream layers learn where the Jacobian is zero.",
        EXCHANGE,
        ("zero-gradient-plateau",),
    ),
    Claim(
        "B39",
        "Second-order terms may become standard practice as hardware improves.",
        EXCHANGE,
        aside="A forecast about practice, not about networks.",
    ),
    Claim("B40", "Local minima also defeat plain gradient descent.", EXCHANGE, ("stuck-or-solved",)),
    Claim(
        "B41", "Values near zero and near overflow are both forms of saturation.", EXCHANGE, ("precision",)
    ),
    Claim("B42", "Signals inside the layers can and should be monitored.", EXCHANGE, ("stuck-or-solved",)),
    Claim(
        "C1",
        "Initialisation decides stability: the wrong one makes gradients vanish or explode.",
        DIVE,
        (
            "matrix-product",
            "initialization-eigenvalues",
            "layer-profiles",
            "phase-diagram",
            "correlation",
            "finite-width",
            "depth-limits",
            "xavier-training",
            "trainability",
            "depth-budget",
        ),
    ),
    Claim(
        "C2",
        "Activation and initialisation together set how fast training converges.",
        DIVE,
        ("layer-profiles", "phase-diagram", "xavier-training", "trainability", "learning-time"),
    ),
    Claim(
        "C3",
        "The gradient at layer l is a product of L - l layer Jacobians with one vector.",
        DIVE,
        ("jacobian-spectrum",),
    ),
    Claim(
        "C4",
        "Long products underflow as those of probabilities do; logarithms avoid it.",
        DIVE,
        ("matrix-product", "jacobian-spectrum", "precision"),
    ),
    Claim(
        "C5",
        "The layers' eigenvalues spread widely, so the product can be very large or very small.",
        DIVE,
        ("matrix-product", "initialization-eigenvalues", "jacobian-spectrum", "free-probability"),
    ),
    Claim(
        "C6",
        "Unstable gradients threaten the optimiser, not only the number representation.",
        DIVE,
        ("depth-budget", "adam-epsilon", "learning-rate-or-depth"),
    ),
    Claim(
        "C7",
        "A product of 100 standard Gaussian 4 x 4 matrices explodes to entries of 1e24 to 1e27.",
        DIVE,
        ("matrix-product",),
    ),
    Claim(
        "C8",
        "When the initialisation explodes, gradient descent has no chance to converge.",
        DIVE,
        ("clipping", "remedy-league", "memory-league"),
    ),
    Claim(
        "C9",
        "Gradients explode by many layers, bad initialisation or a high learning rate.",
        DIVE_REMEDIES,
        ("depth-budget", "learning-rate-or-depth"),
    ),
    Claim(
        "C10",
        "A gradient has exploded when it exceeds the numeric range.",
        DIVE_REMEDIES,
        ("precision", "learning-rate-or-depth"),
    ),
    Claim(
        "C11",
        "A framework's default normal initialisation suits medium-sized problems.",
        DIVE,
        ("initialization-eigenvalues", "layer-profiles"),
    ),
    Claim(
        "C12",
        "Xavier initialisation keeps every layer's activations in a reasonable range.",
        DIVE_REMEDIES,
        ("initialization-eigenvalues", "layer-profiles", "correlation", "xavier-training", "he-training"),
    ),
    Claim(
        "C13",
        "He initialisation is Xavier's with the fan-in alone, and suits relu.",
        DIVE_REMEDIES,
        ("initialization-eigenvalues", "layer-profiles", "finite-width", "he-training"),
    ),
    Claim(
        "C14",
        "Orthogonal initialisation avoids vanishing and exploding gradients.",
        DIVE_REMEDIES,
        (
            "initialization-eigenvalues",
            "jacobian-spectrum",
            "free-probability",
            "depth-limits",
            "learning-time",
            "remedy-league",
        ),
    ),
    Claim(
        "C15",
        "Adaptive optimisers such as Adagrad, RMSProp and Adam are an initialisation method.",
        DIVE_REMEDIES,
        ("depth-budget", "adam-epsilon", "remedy-league"),
    ),
    Claim(
        "C16",
        "Frameworks ship about a dozen initialisation heuristics.",
        DIVE,
        ("initialization-eigenvalues", "layer-profiles"),
    ),
    Claim(
        "C17",
        "Clipping, relu, Xavier or He, batch normalisation and residual connections are remedies.",
        DIVE_REMEDIES,
        ("clipping", "remedy-league", "memory-league"),
    ),
    Claim(
        "C18",
        "Regularisation and care during optimisation stabilise training further.",
        DIVE,
        ("clipping", "remedy-league", "memory-league"),
    ),
    Claim(
        "C19",
        "Gradients explode in deep networks whose initial weights are too large.",
        REMEDIES,
        ("layer-profiles", "phase-diagram", "trainability"),
    ),
    Claim(
        "C20",
        "Gradients vanish in deep networks and with unsuitable activations.",
        REMEDIES,
        ("layer-profiles", "phase-diagram", "trainability"),
    ),
    Claim(
        "C21",
        "Batch normalisation removes the weights' scale from backpropagation and so cures it.",
        REMEDIES,
        ("normalization",),
    ),
    Claim(
        "C22",
        "Batch normalisation moves outputs from the saturated to the sensitive range.",
        REMEDIES,
        ("normalization",),
    ),
    Claim(
        "C23",
        "Batch normalisation speeds up convergence and steadies training.",
        REMEDIES,
        ("loss-landscape", "remedy-league"),
    ),
    Claim(
        "C24",
        "A layer's derivative contains its weight, whose size decides the fate of the gradient.",
        REMEDIES,
        ("normalization",),
    ),
    Claim(
        "C25",
        "A residual block adds 1 to the derivative and so passes the gradient without loss.",
        REMEDIES,
        ("residual", "attention"),
    ),
    Claim(
        "C26",
        "Residual networks of a thousand layers train without vanishing gradients.",
        REMEDIES,
        ("residual", "attention"),
    ),
    Claim(
        "C27",
        "Residual networks ended the ImageNet contest, and almost all networks use them.",
        REMEDIES,
        aside="History: no measurement of a network can tell.",
    ),
    Claim(
        "C28",
        "Layerwise pretraining was introduced in 2006 to solve the gradient problem.",
        REMEDIES,
        ("pretraining",),
    ),
    Claim(
        "C29",
        "Pretraining finds local optima that are then combined into the global one.",
        REMEDIES,
        ("pretraining",),
    ),
    Claim(
        "C30",
        "Clipping forces a gradient above a threshold into range, mainly against exploding.",
        REMEDIES,
        ("clipping", "memory-league"),
    ),
    Claim(
        "C31",
        "L1 and L2 penalties limit exploding gradients, which inflate the weights.",
        REMEDIES,
        ("clipping", "memory-league"),
    ),
    Claim("C32", "The regularised loss is |y - W^T x|^2 + alpha |W|^2.", REMEDIES, ("clipping",)),
    Claim(
        "D1",
        "Repeated multiplication by b tends to 0 for |b| < 1, to infinity for |b| > 1.",
        KARPATHY,
        ("power-iteration", "edge-of-chaos-rnn"),
    ),
    Claim(
        "D2", "A^k x is governed by the largest eigenvalue of A, and by x.", KARPATHY, ("power-iteration",)
    ),
    Claim(
        "D3",
        "A relu RNN without input repeats one matrix, and its largest eigenvalue decides.",
        KARPATHY,
        ("power-iteration", "recurrent-eigenvalues"),
    ),
    Claim(
        "D4",
        "A recurrent network is S_t = f(U x + W S), y = g(V S), trained through time.",
        KARPATHY,
        ("gradient-by-lag",),
    ),
    Claim(
        "D5",
        "Long sequences make gradients explode or vanish.",
        KARPATHY,
        ("gradient-by-lag", "edge-of-chaos-rnn", "long-lag-tasks"),
    ),
    Claim("D6", "Clipping or an LSTM is therefore needed.", KARPATHY, ("long-lag-tasks", "flossing")),
    Claim(
        "D7",
        "Gradients explode if the dominant recurrent eigenvalue exceeds 1 and vanish below 1.",
        WEBERNA,
        ("power-iteration", "recurrent-eigenvalues", "edge-of-chaos-rnn"),
    ),
    Claim("D8", "The activation's derivative is always less than 1.", WEBERNA, ("gradient-by-lag",)),
    Claim(
        "D9",
        "A small recurrent matrix drives the derivative to 0, a large one to infinity.",
        WEBERNA,
        ("recurrent-eigenvalues", "edge-of-chaos-rnn"),
    ),
    Claim(
        "D10",
        "In practice vanishing is the more common of the two.",
        WEBERNA,
        ("recurrent-eigenvalues", "edge-of-chaos-rnn"),
    ),
    Claim(
        "D11",
        "A vanished gradient means that early states do not affect later ones.",
        WEBERNA,
        ("long-lag-tasks",),
    ),
    Claim(
        "D12",
        "The way out is a step derivative of about 1, or of about 0.",
        WEBERNA,
        ("recurrent-eigenvalues", "gradient-by-lag", "edge-of-chaos-rnn", "long-lag-tasks", "flossing"),
    ),
    Claim(
        "D13",
        "relu in place of tanh relieves vanishing, but explodes with an eigenvalue above 1.",
        WEBERNA,
        ("gradient-by-lag", "long-lag-tasks"),
    ),
    Claim(
        "D14",
        "The LSTM's three gates answer conflicting updates of input and output weights.",
        WEBERNA,
        ("carousel",),
    ),
    Claim("D15", "In the early LSTM the derivative along the cell is exactly 1.", WEBERNA, ("carousel",)),
    Claim(
        "D16", "The early LSTM achieves this by truncating gradients at the gates.", WEBERNA, ("carousel",)
    ),
    Claim("D17", "The early cell state grows without bound, hence the forget gate.", WEBERNA, ("carousel",)),
    Claim("D18", "The modern cell derivative has four terms.", WEBERNA, ("carousel", "learned-gates")),
    Claim(
        "D19",
        "A plain RNN's step factors all end above 1 or all in [0, 1]; an LSTM's may vary.",
        WEBERNA,
        ("carousel",),
    ),
    Claim(
        "D20",
        "If the cell derivative tends to 0, raising the forget gate restores it.",
        WEBERNA,
        ("carousel", "learned-gates", "long-lag-tasks"),
    ),
    Claim(
        "D21",
        "The network learns through its gates when to let the gradient vanish.",
        WEBERNA,
        ("learned-gates",),
    ),
    Claim(
        "D22",
        "The additive update gives a well-behaved derivative.",
        WEBERNA,
        ("gradient-by-lag", "carousel", "learned-gates"),
    ),
    Claim("D23", "An LSTM does not prevent exploding gradients; clip them, or hope.", WEBERNA, ("carousel",)),
    Claim(
        "D24",
        "Clipping succeeds more often than hoping.",
        WEBERNA,
        ("long-lag-tasks", "clipping", "memory-league"),
    ),
    Claim(
        "D25",
        "An LSTM seldom vanishes because of its complex gates, which remember earlier steps.",
        REMEDIES,
        ("carousel", "long-lag-tasks"),
    ),
    Claim(
        "D26", "The extra terms of the cell derivative do not change the argument.", WEBERNA, ("carousel",)
    ),
)

_BY_ID = {claim.id: claim for claim in CLAIMS}


def claim(id: str) -> Claim:
    """The claim with this id.

    Raises:
        ValueError: No claim has this id.
    """
    if id not in _BY_ID:
        raise ValueError(
            f"claim id {id!r} is unknown; write one of A1 to A25, B1 to B42, C1 to C32, D1 to D26"
        )
    return _BY_ID[id]
