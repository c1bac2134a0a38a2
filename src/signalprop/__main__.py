"""``python -m signalprop``."""

from signalprop.bench.cli.main import main

if __name__ == "__main__":  # the workers of a pool import this module too
    main()
