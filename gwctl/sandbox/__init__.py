"""The stand-in for IBKR and a stand-in release: users' CI without an account."""
