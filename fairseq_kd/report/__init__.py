"""Tables and pictures, made from result files alone."""
