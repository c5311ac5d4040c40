"""Workflows: authoring them, ordering executions, and the engine that carries them out."""
