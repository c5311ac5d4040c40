"""Pure values and functions: no clock, no network, no disk, no environment."""
