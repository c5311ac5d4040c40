"""Workflows of API calls: definitions, expressions and the planner, as pure values and functions."""
