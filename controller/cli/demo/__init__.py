"""`naryn demo`: the whole simulated site on this machine, with a scripted evening."""
