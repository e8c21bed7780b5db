"""Labelling by thresher and by Delphi, of the same latents through the same server."""
