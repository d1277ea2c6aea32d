"""Objects that people label, and what a forest learns from that."""
