"""Start, follow, hold and stop a profile's session: the base of the command line and the Python API."""
