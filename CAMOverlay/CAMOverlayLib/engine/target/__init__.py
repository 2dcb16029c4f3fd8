"""What is explained: the prediction, a class, where."""
