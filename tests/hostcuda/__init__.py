"""CUDA kernels on the CPU, and what stands in for CuPy where no GPU is: for tests only."""

from hostcuda.launch import KernelFault, running

__all__ = ["KernelFault", "running"]
