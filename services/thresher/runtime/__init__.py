"""Ray (connect, submit, supervise), progress, the local stack, and the identity of model folders."""
