"""`naryn bench`: figures of this machine, each beside the raw limit of the same run."""
