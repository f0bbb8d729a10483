"""Measuring: what a method gains, and what it costs."""
