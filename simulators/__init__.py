"""Plays the world over real sockets, written from vendor facts. Imports nothing of ours."""
