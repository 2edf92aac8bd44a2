"""The supervisor's core: a pure state machine; no clock, no I/O, the standard library only."""
