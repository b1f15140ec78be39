"""Kernels: one function a neuron, several backends, one meaning."""
