"""Where gwctl meets other systems."""
