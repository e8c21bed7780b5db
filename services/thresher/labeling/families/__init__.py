"""Labels that say the same, features that are the same: linked, and gathered into named families."""
