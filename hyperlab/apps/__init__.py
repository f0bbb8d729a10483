"""Apps for notebooks: states that say which controls they have, and one app that wires them."""
