"""What is true: values and pure functions, without I/O, clock or environment."""
