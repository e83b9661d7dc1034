"""Decides and runs; the only part that knows why."""
