"""What several experiments measure with: inputs, kernels, spectra, rates, number formats, gates."""
