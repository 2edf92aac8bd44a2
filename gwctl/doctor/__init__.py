"""Check everything that a session needs and say how to fix what is wrong; changes nothing and stops nothing."""
