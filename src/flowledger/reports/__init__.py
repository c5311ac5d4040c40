"""Reports: one file per format, texts from one catalogue per language."""
