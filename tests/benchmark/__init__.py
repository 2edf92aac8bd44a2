"""The benchmark: gwctl, the peer and the floor on one machine, one gateway and one stand-in for IBKR."""
