"""`naryn scenario`: a whole site and its world in one process, on a virtual clock."""
