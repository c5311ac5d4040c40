"""What Flowledger does, over ports only: collect, enrich, report."""
