"""Networks, activations and initializers in Flax NNX; knows no theory and no files."""
