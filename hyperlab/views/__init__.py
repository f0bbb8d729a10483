"""Seeing: projections, plotly figures, pictures."""
