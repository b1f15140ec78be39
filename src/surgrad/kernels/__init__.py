"""Kernels: one function per neuron, with several backends that compute the same."""
