"""What a study has come to, as records and as text."""
