"""The HTML report: one file that a browser opens offline, made from result files alone."""
