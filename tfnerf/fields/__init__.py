"""What is at a point: fields of colour and density, and their encodings."""
