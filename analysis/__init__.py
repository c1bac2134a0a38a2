"""Mathematics of signal propagation on arrays and callables; knows no model, file, clock or plot.

Names: what spans many decades is the natural log of a squared norm, ``log_...`` (of a norm if the name says
so); what multiplies a squared norm per layer or block is a ``..._factor`` or chi_1, chi_q, mu_k. Lyapunov
exponents and ``log_singular_values`` are logs of norms, as in the field; decades appear only in ``bench``.

Wide feed-forward networks
    meanfield: length and correlation maps, fixed points, critical line, gradient
    layerwise: the same where layers differ, with means of weights and biases
    growth: factors of residual, normalized and dropout layers and blocks
    residual: blocks x + phi(W x), whose branch has a mean
    attention: lengths and cosines of tokens
    freeprob: singular values of the Jacobian, by free probability
    spectraldensity: their density, by continuation

Finite width
    finitewidth: exact laws of log |Ju|^2 for relu and linear networks
    fluctuations: log q and log |delta|^2 of any activation, to first order in 1/N
    convolution: linear convolutions on a ring
    dying: relu networks and units that are dead before training

Random matrices
    randommatrix: products of Gaussian matrices, exponents and limit laws
    ginibre: eigenvalues of one Gaussian matrix
    extremes: its largest and smallest singular value

Recurrent networks
    recurrent: what one weight matrix says, radii and bounds
    chaos: Lyapunov exponents of wide networks
    gated: Jacobians, terms and time scales of gated cells
    gatedfield: mean field of gated cells
    trajectory: the path of a state and the Jacobians of its steps
    lyapunov: Lyapunov exponents of any cell
    timelag: gradients by time lag

Training and floating point
    plateau: steps where the gradient is exactly zero
    activity: saturated and dead units
    sharpness: largest eigenvalue of the Hessian
    precision: where products, slopes and steps end in a format
    thresholds: where a function or its slope becomes constant

A program of one's own
    program: its gradients over any number of decades, read off its equations
    diagnosis: what one network's numbers say, beside predictions; the cause in a word

Tools
    jacobian: Jacobians of layers and of any callable
    products: singular values of long products
    eigenvalues: of a general matrix, on every platform
    gaussian: expectations over one and two Gaussians
    spherical: averages over normalized batches
    smoothness: kinks and edges of an activation
    roots: the first root along a line, and Newton's method
    statistics: means, errors, fits, norms in the log domain
    compiled: functions compiled whole
"""
