"""CUDA: what `cuda.py` launches, and how memory is looked after."""
