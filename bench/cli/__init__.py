"""The command line: arguments first, without JAX; then what each command does."""
