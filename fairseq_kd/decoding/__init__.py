"""What searches and what samples: one interface, and one module for each decoder behind it."""
