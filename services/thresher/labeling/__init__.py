"""Labels: a language model explains what each feature fires on, and scorers measure how well the words predict it."""
