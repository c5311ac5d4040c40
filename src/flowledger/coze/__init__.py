"""Coze workflows: runs them, and hands their events on."""
