"""Files that are whole or absent, folders of blocks that several runs share, and what made a result."""
