"""Settings, sweeps, stores, figures, verdicts and the command line."""
