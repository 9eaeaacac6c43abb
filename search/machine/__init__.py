"""What this machine has, keeps and allows."""
