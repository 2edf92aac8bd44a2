"""One login at IBKR, in a bounded child process."""
