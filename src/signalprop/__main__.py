"""``python -m signalprop``."""

from signalprop.bench.cli.main import main

main()
