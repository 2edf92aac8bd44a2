"""Law 2: which passwords may be sent, how often, and with what outcome."""
