"""What a task is like, and which method it calls for."""
