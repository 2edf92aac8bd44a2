"""Run gwctl as ``python -m gwctl``."""

from gwctl.cli.main import main

if __name__ == "__main__":
    main()
