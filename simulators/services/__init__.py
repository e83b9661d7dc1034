"""Plays the services around a site: today the grid dispatcher."""
