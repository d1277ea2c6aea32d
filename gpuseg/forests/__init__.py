"""Random forests: how they are trained, read from projects, and kept as flat arrays."""
