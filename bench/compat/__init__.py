"""Helpers of bench/compat.py."""
