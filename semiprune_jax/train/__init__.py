"""Training: steps, the loop that runs them, and the trainings of the method."""
