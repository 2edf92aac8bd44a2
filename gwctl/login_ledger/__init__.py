"""Law 2: which passwords may be sent, how often, and what came of them."""
