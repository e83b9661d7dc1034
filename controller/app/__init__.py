"""The composition root: builds each process from its configuration. Nothing decides here."""
