"""The supervisor's core: a pure state machine; no clock, no I/O, no library but msgspec for its records."""
