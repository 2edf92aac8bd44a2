"""The supervisor of one session: the loop around the pure core, and everything it acts through."""
