"""The sweep: a grid becomes compiled programs, programs become chunks, and every chunk is on disk at once."""
