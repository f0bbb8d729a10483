"""Models whose parameters move: frozen backbones with a prototype head."""
