"""One login at IBKR, in a child process with a deadline."""
