"""Mathematics of signal propagation on arrays and callables; knows no model, file, clock or plot."""
