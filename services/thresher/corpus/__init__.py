"""Text in, packed token sequences out."""
