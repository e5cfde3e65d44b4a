"""Files that are whole or absent, work that several runs share, and what made a result."""
