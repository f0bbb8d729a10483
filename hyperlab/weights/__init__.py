"""Weight space: populations of networks, encoders, flows that generate networks, novelty."""
