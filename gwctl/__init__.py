"""gwctl keeps one Client Portal Gateway session alive per profile."""

__version__ = "0.1.0"
