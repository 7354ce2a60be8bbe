"""CPU kernels in C for what stands between two matrix products, with torch fallbacks."""
