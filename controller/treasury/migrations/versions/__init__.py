"""One module a revision; Alembic reads them by their place."""
