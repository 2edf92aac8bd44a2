"""The supervisor's core in virtual time, against a stochastic model of IBKR and of the machine."""
