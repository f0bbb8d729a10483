"""Procedural families of classes, drawn from seeds: `synthetic.render` gives their domains."""
