"""Run the fake gateway: ``python -m gwctl.sandbox.gateway --base DIR --conf ../DIR/conf.yaml``."""

from __future__ import annotations

import sys

from gwctl.sandbox.gateway.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
