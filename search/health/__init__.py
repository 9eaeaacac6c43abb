"""What the gradients of a trial are like: measured, judged, and kept as records."""
