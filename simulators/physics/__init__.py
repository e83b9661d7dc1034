"""The world's laws, pure: step functions over time, water, load and a seeded random source."""
