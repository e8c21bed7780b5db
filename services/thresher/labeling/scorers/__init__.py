"""Ways to measure how well a label predicts when its feature fires."""
