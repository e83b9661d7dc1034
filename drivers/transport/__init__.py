"""Bytes to a device and back: bounded in time and size. Each transport has an in-memory twin."""
