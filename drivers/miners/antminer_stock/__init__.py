"""Bitmain's own firmware for Antminers."""
