"""Types of nodes in workflows: one file each, named in ``plugins.NODES``."""
