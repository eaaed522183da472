"""The native codec: typography, network, weights, training."""
