"""What the controller and every driver agree on: quantities, readings, commands, outcomes, errors.

Pure: no IO, no clock, no randomness. Instants named `*_s` are CLOCK_MONOTONIC seconds given by
the caller.
"""
