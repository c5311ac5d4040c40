"""Ways to tell people: one file for each channel, templates, and the service that never fails a run."""
