"""Apps for notebooks: a traitlets model with the rules, and a view that only wires it."""
