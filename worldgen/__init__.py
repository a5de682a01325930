"""worldgen: flip a module, and know whether the world became more physical."""

__version__ = "0.1.0"
