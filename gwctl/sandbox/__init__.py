"""A fake IBKR and a fake release, for users' CI without an account."""
