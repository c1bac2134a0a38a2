"""``python -m signalprop``."""

from signalprop.bench.cli import main

main()
