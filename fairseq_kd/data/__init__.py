"""Data-bins, and teacher-made targets aligned with them."""
