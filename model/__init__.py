"""Integers in, integers or logits out: Perceiver AR, its training, its sampler.  Knows nothing of music or pages."""
