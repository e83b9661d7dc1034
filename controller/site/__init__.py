"""The running site: what it remembers, and the guard that only one process runs it."""
