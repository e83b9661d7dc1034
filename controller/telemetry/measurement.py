"""The measurement table: every series that Naryn writes, with tags, fields, units and meaning."""
