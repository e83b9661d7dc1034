"""Luxor's LuxOS on Antminers: reads in one joined request, writes under a session, power by
profiles.
"""
