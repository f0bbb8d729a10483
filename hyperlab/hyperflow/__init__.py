"""HyperFlow (arXiv 2504.15323): record fine-tuning, learn its flow, adapt without gradients."""
