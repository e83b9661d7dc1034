"""What the site measured, on its way into the time-series database."""
