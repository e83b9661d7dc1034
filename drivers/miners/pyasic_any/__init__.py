"""Any make that pyasic knows, driven by pyasic in a child process.

PyasicMiner ──PyasicPort──▶ PyasicChild ══frames over pipes══▶ child.py ──▶ backend.py ──▶ pyasic
"""
