"""Start, follow, hold and stop a profile's session: what the command line and programs are built on."""
