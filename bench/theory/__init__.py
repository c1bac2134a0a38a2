"""The topics of ``signalprop theory``: what the mathematics predicts for given parameters."""
