"""Few-shot tasks: real and procedural domains, styles, and samplers of episodes."""
