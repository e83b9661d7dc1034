"""What people write, checked: `site.toml`, and the inventory of miners as CSV."""
