"""Files of the original: configs and weights."""
