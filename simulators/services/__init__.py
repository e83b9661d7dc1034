"""Plays the services around a site: grid dispatcher, bitcoin chain, mining pool and signer."""
