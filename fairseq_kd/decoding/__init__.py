"""What searches and what samples: one interface, and a module or room for each decoder behind it."""
