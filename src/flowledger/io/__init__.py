"""Files and JSON that several rooms need, once: written whole or not at all."""
