"""One Modbus driver for every meter and plant PLC: a meter is a data file.

load.py     TOML → RegisterMap, every mistake of a file at once
map.py    ★ the shapes of a map
plan.py   ★ which registers to read together
decode.py ★ words → values
driver.py   the three joined: ModbusMeter
quality.py ★ how far a value may be trusted: frozen, stale, unreadable
"""
