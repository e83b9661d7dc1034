"""Decides how much the mines may draw and which miners draw it.

Pure: every function takes all it needs as arguments, `now` included; the same arguments give the
same bytes out. The one entry is `decide`.
"""
