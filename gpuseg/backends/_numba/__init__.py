"""The fast CPU path: what `cpu.py` defines, fused over filters and walked in tiles."""
