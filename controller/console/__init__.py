"""The web page of the site."""
