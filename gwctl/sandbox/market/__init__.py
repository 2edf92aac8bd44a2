"""The sandbox's market: contracts, prices, orders, an account; without I/O, and without a clock of its own."""
