"""One gateway on disk and in memory."""
