"""One gateway: its files, its process, and its HTTP and WebSocket interfaces."""
