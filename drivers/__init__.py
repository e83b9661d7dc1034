"""Speaks to hardware: miners, meters, plant signals. Knows nothing of why."""
