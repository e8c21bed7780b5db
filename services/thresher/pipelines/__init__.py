"""What composes stages: the table of stages that the command and the jobs share, and the demo."""
