"""How `treasury.db` came to its present form, step by step. A published step is never changed."""
