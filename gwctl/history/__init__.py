"""What happened: the journal, and what can be told from it."""
