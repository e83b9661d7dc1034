"""One folder a firmware: `codec.py` turns bytes into values, `driver.py` speaks to one miner."""
