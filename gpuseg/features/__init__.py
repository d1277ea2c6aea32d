"""Pixel features: THE TABLE of filters, selections from it, and stacks of planes."""
