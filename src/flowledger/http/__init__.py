"""HTTP that several sources and channels need, once: addresses, pools with a deadline."""
