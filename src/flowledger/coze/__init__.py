"""Running workflows in Coze, and reading their events."""
