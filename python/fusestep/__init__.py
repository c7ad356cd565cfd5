"""Fused optimizer steps. For PyTorch: fusestep.torch."""
