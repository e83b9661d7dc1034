"""C peer and raw clients of the benchmarks, compiled on first use."""
