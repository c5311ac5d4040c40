"""Where reports and data files are kept."""
