"""Faults thrown at the whole program, and what must hold after each."""
