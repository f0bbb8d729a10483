"""Seeing: projections, plotly figures, and apps to touch."""
