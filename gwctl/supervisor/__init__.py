"""The loop that keeps one session alive: a pure core and its shell."""
