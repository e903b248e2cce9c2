"""The version, alone: the build reads it without importing what the package needs."""

__version__ = "0.1.0"
