"""HTTP as all clients speak it: sessions with a deadline, proxies, trust, errors, addresses."""
